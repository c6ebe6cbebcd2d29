import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The counting job in Flink, as one process with two slots: state on the heap, checkpoints into files, and a sink that
 * commits a transaction with each checkpoint. Starts from the newest checkpoint that is there.
 */
public final class FlinkJob {
    private FlinkJob() {}

    static final class Cells implements DeserializationSchema<String> {
        @Override
        public String deserialize(byte[] event) throws IOException {
            return Cell.of(event);
        }

        @Override
        public boolean isEndOfStream(String cell) {
            return false;
        }

        @Override
        public TypeInformation<String> getProducedType() {
            return Types.STRING;
        }
    }

    static final class Count extends KeyedProcessFunction<String, String, Tuple2<String, Long>> {
        private transient ValueState<Long> counts;

        @Override
        public void open(OpenContext context) {
            counts = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
        }

        @Override
        public void processElement(String cell, Context context, Collector<Tuple2<String, Long>> out)
                throws IOException {
            Long before = counts.value();
            long counted = before == null ? 1 : before + 1;
            counts.update(counted);
            out.collect(Tuple2.of(cell, counted));
        }
    }

    static final class Records implements KafkaRecordSerializationSchema<Tuple2<String, Long>> {
        private final String topic;

        Records(String topic) {
            this.topic = topic;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(
                Tuple2<String, Long> pair, KafkaSinkContext context, Long timestamp) {
            byte[] value = Long.toString(pair.f1).getBytes(StandardCharsets.US_ASCII);
            return new ProducerRecord<>(topic, pair.f0.getBytes(StandardCharsets.UTF_8), value);
        }
    }

    static Optional<Path> newestCheckpoint(Path folder) throws IOException {
        if (!Files.isDirectory(folder)) {
            return Optional.empty();
        }
        try (Stream<Path> paths = Files.walk(folder, 3)) {
            return paths.filter(path -> path.endsWith("_metadata"))
                    .max(Comparator.comparing(path -> path.toFile().lastModified()))
                    .map(Path::getParent);
        }
    }

    public static void main(String[] words) throws Exception {
        Map<String, String> environ = System.getenv();
        Path checkpoints = Path.of(environ.get("PEER_STATE"), "checkpoints");
        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, checkpoints.toUri().toString());
        settings.set(
                CheckpointingOptions.CHECKPOINTING_INTERVAL,
                Duration.ofMillis(Long.parseLong(environ.get("PEER_INTERVAL_MS"))));
        settings.set(
                CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION,
                ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        newestCheckpoint(checkpoints)
                .ifPresent(path -> settings.set(
                        StateRecoveryOptions.SAVEPOINT_PATH, path.toUri().toString()));

        StreamExecutionEnvironment flink = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        flink.setParallelism(2);
        KafkaSource<String> events = KafkaSource.<String>builder()
                .setBootstrapServers(environ.get("PEER_KAFKA"))
                .setTopics(environ.get("PEER_TOPIC"))
                .setGroupId(environ.get("PEER_GROUP"))
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setValueOnlyDeserializer(new Cells())
                .build();
        KafkaSink<Tuple2<String, Long>> sink = KafkaSink.<Tuple2<String, Long>>builder()
                .setBootstrapServers(environ.get("PEER_KAFKA"))
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(environ.get("PEER_GROUP"))
                .setProperty("transaction.timeout.ms", "600000")
                .setRecordSerializer(new Records(environ.get("PEER_OUTPUT")))
                .build();
        flink.fromSource(events, WatermarkStrategy.noWatermarks(), "events")
                .uid("events")
                .keyBy(cell -> cell)
                .process(new Count())
                .returns(Types.TUPLE(Types.STRING, Types.LONG))
                .uid("counts")
                .sinkTo(sink)
                .uid("sink");
        flink.execute("counts");
    }
}
