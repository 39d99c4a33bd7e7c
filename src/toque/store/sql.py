"""Which SQL a statement may hold beyond tables and columns: harmless functions, operators, collations, and what an app
adds to them.

A function can do anything (`query_to_xml` reads tables, `pg_read_file` files), and so can an operator that an extension
defines. So each is allowed by name. Those built in compute a value from their arguments and do nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

__all__ = ["COLLATIONS", "FIELDS", "FUNCTIONS", "OPERATORS", "Sql"]


class Sql(Struct, frozen=True):
    """What statements may hold beside what is known to be harmless: `App("shop", sql=Sql(functions={"crc32"}))`.

    Args:
        functions: names of functions, of all that `func` makes.
        operators: what `.op()` may be given.
        collations: what `.collate()` may be given.
        texts: the whole text of each `text()` and `literal_column()`; nobody looks into it, so it is its author's
            word that it shows and changes nothing that is not the caller's.
    """

    functions: frozenset[str] | set[str] = frozenset()
    operators: frozenset[str] | set[str] = frozenset()
    collations: frozenset[str] | set[str] = frozenset()
    texts: frozenset[str] | set[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What both have, under these names or through SQLAlchemy.
_BOTH = _words("""
    abs avg ceil ceiling char_length coalesce concat concat_ws count current_date current_time current_timestamp
    cume_dist dense_rank exp first_value floor ifnull lag last_value lead length ln localtime localtimestamp log lower
    ltrim max min mod now nth_value ntile nullif octet_length percent_rank pow power rank replace round row_number
    rtrim sign sqrt substr substring sum trim upper aggregate_strings any_value
""")

FUNCTIONS: Mapping[str, frozenset[str]] = {
    # https://www.sqlite.org/lang_corefunc.html and the pages beside it. Left out: load_extension, randomblob and
    # zeroblob (memory), printf and format (memory), and all of pragma_*.
    "sqlite": _BOTH
    | _words("""
        char date datetime glob group_concat hex instr iif json json_array json_array_length json_each json_extract
        json_group_array json_group_object json_insert json_object json_patch json_quote json_remove json_replace
        json_set json_tree json_type json_valid julianday likelihood likely quote random strftime string_agg time
        timediff total trunc typeof unhex unicode unixepoch unlikely
    """),
    # PostgreSQL's manual, chapter 9. Left out: all of 9.26 to 9.28 (settings, files, locks), sequences, xml
    # functions that run SQL, repeat and lpad (memory), and to_json(b) and row_to_json of whole rows.
    "postgresql": _BOTH
    | _words("""
        age array_agg array_append array_cat array_length array_position array_positions array_prepend array_remove
        array_replace array_to_string array_upper array_lower bit_and bit_or bool_and bool_or btrim cardinality
        character_length clock_timestamp corr covar_pop covar_samp date_part date_trunc div every extract
        gen_random_uuid generate_series greatest initcap isfinite json_agg json_array_elements json_array_length
        json_build_array json_build_object json_each json_extract_path json_extract_path_text json_object_agg
        json_object_keys json_typeof jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length
        jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text
        jsonb_insert jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_query jsonb_path_query_array
        jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_typeof justify_days justify_hours
        least left make_date make_interval make_time make_timestamp make_timestamptz md5 mode overlay
        percentile_cont percentile_disc phraseto_tsquery plainto_tsquery position random regexp_replace reverse right
        sha224 sha256 sha384 sha512 split_part starts_with statement_timestamp stddev stddev_pop stddev_samp
        string_agg string_to_array strpos to_char to_date to_number to_timestamp to_tsquery to_tsvector
        transaction_timestamp translate trunc ts_headline ts_rank ts_rank_cd unnest var_pop var_samp variance
        websearch_to_tsquery width_bucket bernoulli system
    """),
}

OPERATORS: Mapping[str, frozenset[str]] = {
    "sqlite": _words("+ - * / % = == != <> < <= > >= || & | << >> ~ -> ->> AND OR IS LIKE GLOB"),
    "postgresql": _words("""
        + - * / % ^ = != <> < <= > >= || & | # << >> ~ !~ ~* !~* -> ->> #> #>> @> <@ ? ?| ?& @? @@ #- && &< &> -|-
        <<= >>= AND OR IS LIKE ILIKE
    """),
}

COLLATIONS: Mapping[str, frozenset[str]] = {
    "sqlite": _words("BINARY NOCASE RTRIM"),
    "postgresql": _words("C POSIX default ucs_basic und-x-icu C.UTF-8"),
}

# SQLAlchemy writes the field of `extract` as it is given: PostgreSQL's manual, 9.9.1.
FIELDS = _words("""
    century day decade dow doy epoch hour isodow isoyear julian microseconds millennium milliseconds minute month
    quarter second timezone timezone_hour timezone_minute week year
""")
