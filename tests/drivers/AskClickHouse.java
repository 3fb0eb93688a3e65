import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

/** Asks the questions of test_drivers.py with the JDBC driver; prints one line of JSON a round. */
class AskClickHouse {
    public static void main(String[] arguments) throws Exception {
        String address = "jdbc:clickhouse://127.0.0.1:" + arguments[0] + "/tokenwire";
        for (String round : new String[] {"defaults", "no compression", "HTTP compression"}) {
            Properties settings = new Properties();
            settings.setProperty("user", "default");
            settings.setProperty("password", arguments[1]);
            if (round.equals("no compression")) settings.setProperty("compress", "false");
            if (round.equals("HTTP compression")) settings.setProperty("client.use_http_compression", "true");
            ask(round, address, settings, Arrays.copyOfRange(arguments, 2, arguments.length));
        }
    }

    static void ask(String round, String address, Properties settings, String[] asked) throws SQLException {
        StringBuilder said = new StringBuilder("{\"round\": " + quoted(round));
        try (Connection connection = DriverManager.getConnection(address, settings)) {
            try (PreparedStatement count = connection.prepareStatement(asked[0])) {
                count.setString(1, "ann");
                ResultSet found = count.executeQuery();
                found.next();
                said.append(", \"count\": " + found.getLong(1));
            }
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(600);
                ResultSet row = statement.executeQuery(asked[1]);
                row.next();
                said.append(", \"row\": [" + quoted(row.getString(1)) + ", " + json(row.getArray(2).getArray()) + ", ");
                said.append(quoted(row.getString(3)) + ", " + json(row.getObject(4)) + "]");
                long sum = 0, letters = 0, rows = 0;
                ResultSet many = statement.executeQuery(asked[2]);
                while (many.next()) {
                    sum += many.getLong(1);
                    letters += many.getString(2).length();
                }
                said.append(", \"many\": [" + sum + ", " + letters + "]");
                String last = "";
                ResultSet types = statement.executeQuery(asked[3]);
                int columns = types.getMetaData().getColumnCount();
                while (types.next()) {
                    for (int column = 1; column <= columns; column++) last = String.valueOf(types.getObject(column));
                    rows++;
                }
                said.append(", \"types\": [" + rows + ", " + quoted(last) + "], \"codes\": [");
                for (int wrong = 4; wrong < asked.length; wrong++) {
                    said.append((wrong > 4 ? ", " : "") + code(statement, asked[wrong]));
                }
                said.append("]");
            }
        }
        settings.setProperty("password", "another");
        try (Connection connection = DriverManager.getConnection(address, settings)) {
            said.append(", \"stranger\": " + code(connection.createStatement(), "SELECT 1"));
        } catch (SQLException refused) {
            said.append(", \"stranger\": " + refused.getErrorCode());
        }
        System.out.println(said + "}");
    }

    static int code(Statement statement, String sql) {
        try {
            statement.executeQuery(sql).close();
            return -1;
        } catch (SQLException refused) {
            return refused.getErrorCode();
        }
    }

    static String json(Object value) {
        if (value instanceof Object[] array) {
            return Arrays.toString(Arrays.stream(array).map(AskClickHouse::json).toArray());
        }
        if (value instanceof Map<?, ?> map) {
            StringBuilder found = new StringBuilder("{");
            for (var entry : new TreeMap<>(map).entrySet()) {
                found.append((found.length() > 1 ? ", " : "") + json(entry.getKey()) + ": " + json(entry.getValue()));
            }
            return found + "}";
        }
        return quoted(String.valueOf(value));
    }

    static String quoted(String text) {
        StringBuilder found = new StringBuilder("\"");
        for (char sign : text.toCharArray()) {
            if (sign < ' ' || sign == '"' || sign == '\\') found.append(String.format("\\u%04x", (int) sign));
            else found.append(sign);
        }
        return found + "\"";
    }
}
