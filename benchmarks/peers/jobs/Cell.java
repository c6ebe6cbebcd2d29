import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;

/** What all jobs count by, read by Jackson's streaming parser: no tree and no object an event. */
final class Cell {
    private static final JsonFactory JSON = new JsonFactory();

    private Cell() {}

    static String of(byte[] event) throws IOException {
        String workspace = "", day = "", type = "", source = "", user = "";
        try (JsonParser parser = JSON.createParser(event)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                JsonToken token = parser.nextToken();
                if (token == JsonToken.VALUE_NULL) {
                    continue;
                }
                switch (name) {
                    case "workspace_id" -> workspace = parser.getText();
                    case "occurred_at" -> day = parser.getText().substring(0, 10);
                    case "type" -> type = parser.getText();
                    case "source" -> source = parser.getText();
                    case "user_id" -> user = parser.getText();
                    default -> parser.skipChildren();
                }
            }
        }
        return workspace + '|' + day + '|' + type + '|' + source + '|' + user;
    }
}
