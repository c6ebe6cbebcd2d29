import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The counting job in Kafka Streams, exactly once (v2).
 *
 * <p>A processor with a store of its own instead of groupBy().count(): the record's key is the workspace already, so the
 * topic that groupBy would write and read once more is saved. The store is RocksDB behind a cache, with a changelog.
 */
public final class KafkaStreamsJob {
    private static final String STORE = "counts";

    private KafkaStreamsJob() {}

    static final class Count implements Processor<byte[], byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, Long> counts;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            counts = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            String cell;
            try {
                cell = Cell.of(record.value());
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
            Long before = counts.get(cell);
            long counted = before == null ? 1 : before + 1;
            counts.put(cell, counted);
            byte[] value = Long.toString(counted).getBytes(StandardCharsets.US_ASCII);
            context.forward(record.withKey(cell).withValue(value));
        }
    }

    static final class Counts implements ProcessorSupplier<byte[], byte[], String, byte[]> {
        @Override
        public Processor<byte[], byte[], String, byte[]> get() {
            return new Count();
        }

        @Override
        public Set<StoreBuilder<?>> stores() {
            return Set.of(Stores.keyValueStoreBuilder(
                            Stores.persistentKeyValueStore(STORE), Serdes.String(), Serdes.Long())
                    .withCachingEnabled()
                    .withLoggingEnabled(Map.of()));
        }
    }

    public static void main(String[] words) {
        Map<String, String> environ = System.getenv();
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, environ.get("PEER_GROUP"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, environ.get("PEER_KAFKA"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, environ.get("PEER_STATE"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, environ.get("PEER_INTERVAL_MS"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        settings.put(
                StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG),
                environ.get("PEER_SESSION_TIMEOUT_MS"));
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");

        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(environ.get("PEER_TOPIC"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .process(new Counts())
                .to(environ.get("PEER_OUTPUT"), Produced.with(Serdes.String(), Serdes.ByteArray()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
