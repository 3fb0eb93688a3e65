"""What readers may name: settings, functions, table functions, formats, databases. All else is refused.

A list of what is forbidden is lost with the engine's next version, so these are lists of what is allowed. Functions
are too many to write down, so they are allowed by the engine's own categories, and by name in the two categories that
mix harmless ones with others. Nothing here can name a file, an address, a program, or hold SQL in a string.

Settings are on the list for one of two reasons: an analyst wants them, or a common driver sends them by itself
(clickhouse-go and Grafana, JDBC, @clickhouse/client, clickhouse-connect, clickhouse-sqlalchemy); those mean nothing to
a query that only reads. Switches and numbers named `output_format_…` are allowed as a family: the engine's own type
of such a setting says that it holds no name of a file.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "DATABASES",
    "FORMATS",
    "FUNCTIONS",
    "FUNCTIONS_REFUSED",
    "FUNCTION_CATEGORIES",
    "FUNCTION_SYNTAX",
    "HARMLESS_TYPES",
    "IGNORED_SETTINGS",
    "LOWERED_SETTINGS",
    "OUTPUT_PREFIX",
    "SETTINGS",
    "SYSTEM_TABLES",
    "TABLE_FUNCTIONS",
]


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


DATABASES: Final = names("tokenwire system information_schema INFORMATION_SCHEMA default")
SYSTEM_TABLES: Final = (
    "aggregate_function_combinators",
    "build_options",
    "columns",
    "data_skipping_indices",
    "data_type_families",
    "databases",
    "formats",
    "functions",
    "macros",
    "numbers",
    "numbers_mt",
    "one",
    "parts",
    "parts_columns",
    "processes",
    "settings",
    "table_functions",
    "tables",
    "time_zones",
    "zeros",
)
TABLE_FUNCTIONS: Final = names("numbers numbers_mt zeros zeros_mt generateSeries generate_series primes values view")
LOWERED_SETTINGS: Final = names("max_execution_time max_memory_usage max_threads")
"""Settings with a limit of ours: asked for above it by a driver's address, they are lowered to it."""
IGNORED_SETTINGS: Final = names("http_write_exception_in_output_format readonly")
"""Taken from an address without effect; `readonly = 0` is refused all the same."""
OUTPUT_PREFIX: Final = "output_format_"
HARMLESS_TYPES: Final = names(
    "Bool UInt64 Int64 Int32 Float Double NonZeroUInt64 UInt64Auto BoolAuto FloatAuto Milliseconds Seconds Char"
)
SETTINGS: Final = LOWERED_SETTINGS | names(
    """
    aggregate_functions_null_for_empty allow_experimental_dynamic_type allow_experimental_json_type
    allow_experimental_object_type allow_experimental_variant_type any_join_distinct_right_table_keys async_insert
    cast_keep_nullable cast_string_to_dynamic_use_inference cast_string_to_variant_use_inference connect_timeout
    count_distinct_implementation date_time_input_format date_time_output_format describe_compact_output
    distinct_overflow_mode empty_result_for_aggregation_by_empty_set enable_http_compression extremes final
    format_csv_allow_double_quotes format_csv_allow_single_quotes format_csv_delimiter group_by_overflow_mode
    group_by_use_nulls http_connection_timeout http_receive_timeout http_send_timeout http_zlib_compression_level
    idle_connection_timeout input_format_null_as_default insert_allow_materialized_columns insert_deduplicate
    insert_null_as_default interval_output_format join_algorithm join_overflow_mode join_use_nulls log_comment
    log_queries low_cardinality_allow_in_native_format max_block_size max_bytes_before_external_group_by
    max_bytes_before_external_sort max_bytes_to_read max_columns_to_read max_insert_block_size max_query_size
    max_result_bytes max_result_rows max_rows_in_join max_rows_in_set max_rows_to_group_by max_rows_to_read
    max_rows_to_sort min_execution_speed network_compression_method network_zstd_compression_level
    optimize_aggregation_in_order optimize_move_to_prewhere optimize_read_in_order output_format_pretty_grid_charset
    prefer_column_name_to_alias priority read_overflow_mode receive_timeout result_overflow_mode send_timeout
    session_timezone set_overflow_mode sort_overflow_mode timeout_overflow_mode totals_mode transform_null_in
    union_default_mode use_client_time_zone use_uncompressed_cache wait_for_async_insert
    """
)
FORMATS: Final = frozenset(
    name.lower()
    for name in names(
        """
        Arrow ArrowStream Avro BSONEachRow CSV CSVWithNames CSVWithNamesAndTypes HTML HiveText JSON JSONColumns
        JSONColumnsWithMetadata JSONCompact JSONCompactColumns JSONCompactEachRow JSONCompactEachRowWithNames
        JSONCompactEachRowWithNamesAndTypes JSONCompactEachRowWithProgress JSONCompactStrings
        JSONCompactStringsEachRow JSONCompactStringsEachRowWithNames JSONCompactStringsEachRowWithNamesAndTypes
        JSONCompactStringsEachRowWithProgress JSONEachRow JSONEachRowWithProgress JSONL JSONLines JSONObjectEachRow
        JSONStrings JSONStringsEachRow JSONStringsEachRowWithProgress LineAsString LineAsStringWithNames
        LineAsStringWithNamesAndTypes MD Markdown MsgPack NDJSON Native Null ORC Parquet Pretty PrettyCompact
        PrettyCompactMonoBlock PrettyCompactNoEscapes PrettyCompactNoEscapesMonoBlock PrettyJSONEachRow
        PrettyJSONLines PrettyMonoBlock PrettyNDJSON PrettyNoEscapes PrettyNoEscapesMonoBlock PrettySpace
        PrettySpaceMonoBlock PrettySpaceNoEscapes PrettySpaceNoEscapesMonoBlock Raw RawBLOB RawWithNames
        RawWithNamesAndTypes RowBinary RowBinaryWithNames RowBinaryWithNamesAndTypes SQLInsert TSKV TSV TSVRaw
        TSVRawWithNames TSVRawWithNamesAndTypes TSVWithNames TSVWithNamesAndTypes TabSeparated TabSeparatedRaw
        TabSeparatedRawWithNames TabSeparatedRawWithNamesAndTypes TabSeparatedWithNames
        TabSeparatedWithNamesAndTypes Values Vertical XML
        """
    )
)
FUNCTION_CATEGORIES: Final = frozenset(
    {
        "Aggregate Functions",
        "Arithmetic",
        "Arrays",
        "Bit",
        "Bitmap",
        "Comparison",
        "Conditional",
        "Dates and Times",
        "Distance",
        "Encoding",
        "Encryption",
        "Financial",
        "Geo",
        "Geo Polygon",
        "Hash",
        "IP Address",
        "JSON",
        "Logical",
        "Map",
        "Mathematical",
        "Null",
        "NumericIndexedVector",
        "QBit",
        "Random Number",
        "Rounding",
        "String",
        "String Replacement",
        "String Search",
        "String Splitting",
        "Time Window",
        "Tuple",
        "Type Conversion",
        "URL",
        "UUID",
    }
)
FUNCTIONS: Final = frozenset(
    name.lower()
    for name in names(
        """
        _CAST caseWithExpression authenticatedUser bar blockNumber blockSize byteSize connectionId countDigits
        currentDatabase currentProfiles currentQueryID currentRoles currentSchemas currentUser
        defaultValueOfArgumentType defaultValueOfTypeName digits displayName dumpColumnStructure enabledRoles
        errorCodeToName finalizeAggregation formatQuery formatQueryOrNull formatQuerySingleLine
        formatQuerySingleLineOrNull formatReadableDecimalSize formatReadableQuantity formatReadableSize
        formatReadableTimeDelta getMaxTableNameLengthForDatabase getSetting getSettingOrDefault getSizeOfEnumType
        getSubcolumn hostName identity ignore indexHint initialQueryID initialQueryStartTime initializeAggregation
        isConstant isDecimalOverflow lowCardinalityIndices lowCardinalityKeys materialize neighbor normalizeQuery
        normalizedQueryHash parseISO8601Duration parseReadableSize parseReadableSizeOrNull parseReadableSizeOrZero
        parseTimeDelta partitionId queryID revision rowNumberInAllBlocks rowNumberInBlock runningAccumulate
        runningDifference runningDifferenceStartingWithFirstValue serverUUID shardCount shardNum sleep throwIf
        toColumnTypeName toTypeName transform uptime variantElement variantType version visibleWidth
        """
    )
)
"""Functions allowed by name: of the categories `Other` and `Internal`."""
FUNCTIONS_REFUSED: Final = frozenset({"formatrow", "formatrownonewline", "groupformat"})
"""Of the allowed categories all the same: they name a format in a string."""
FUNCTION_SYNTAX: Final = names("lambda grouping exists")
"""Words that the parser writes as functions, but the engine's list of functions does not have."""
