#include "connect/landing_plan.h"

#include <string.h>

#include "base/assert.h"
#include "connect/file_scan.h"
#include "connect/json_flat.h"
#include "connect/landing_rows.h"

/* ---- names and options ---- */

static const char *const format_names[] = {"auto", "csv", "tsv", "json", "ndjson", "parquet", "lines"};

const char *landing_format_name(enum landing_format format) {
    must(format <= LANDING_LINES);
    return format_names[format];
}

bool landing_format_parse(struct str name, enum landing_format *out) {
    for (int i = 0; i <= LANDING_LINES; i++)
        if (str_ieq(name, str_of(format_names[i]))) return *out = (enum landing_format)i, true;
    return false;
}

static bool one_byte(const char *text) { return text[0] && !text[1] && text[0] != '\n' && text[0] != '\r' && (unsigned char)text[0] < 0x80; }

enum status landing_reading_check(const struct landing_reading *r, struct err *err) {
    struct encoding encoding;
    if (r->delimiter && !one_byte(r->delimiter)) return err_set(err, E_CONFIG, "delimiter: one ASCII character is expected, not \"%s\"", r->delimiter);
    if (r->quote && r->quote[0] && !one_byte(r->quote)) return err_set(err, E_CONFIG, "quote: one ASCII character is expected, not \"%s\"", r->quote);
    if (r->escape && r->escape[0] && !one_byte(r->escape)) return err_set(err, E_CONFIG, "escape: one ASCII character is expected, not \"%s\"", r->escape);
    char quote = r->quote ? r->quote[0] : '"';
    if (r->delimiter && quote && r->delimiter[0] == quote) return err_set(err, E_CONFIG, "delimiter and quote are the same character");
    if (r->delimiter && r->escape && r->escape[0] && r->delimiter[0] == r->escape[0])
        return err_set(err, E_CONFIG, "delimiter and escape are the same character");
    if (r->encoding && encoding_parse(str_of(r->encoding), &encoding, err) != OK) return err ? (err->status = E_CONFIG) : E_CONFIG;
    if (r->record_bytes_max > LANDING_RECORD_BYTES_MAX)
        return err_set(err, E_CONFIG, "record_bytes_max: %zu is over %u", r->record_bytes_max, LANDING_RECORD_BYTES_MAX);
    if (r->columns_max > LANDING_COLUMNS_MAX) return err_set(err, E_CONFIG, "columns_max: %zu is over %d", r->columns_max, LANDING_COLUMNS_MAX);
    return OK;
}

/* ---- one file ---- */

struct making {
    const struct host *host;
    struct arena *arena, *tmp; /* of the plan; of its making */
    const struct landing_reading *reading;
    struct file_scan scan;
    struct str text; /* the sample without BOM; UTF-16 decoded */
    bool whole; /* the sample is all of it */
    struct landing_plan plan;
};

static void reject(struct making *m, const char *reason) { m->plan.rejection = reason; }

/* ---- encoding ---- */

static const char not_told_apart[] = "windows-1254, windows-1252, iso-8859-9 and iso-8859-1 (latin-1) cannot be told apart by their bytes: give the source the "
                                     "right `encoding:` (or `encoding: utf-8`, if it is UTF-8 with damaged rows)";

static void choose_encoding(struct making *m) {
    struct err err;
    struct encoding_guess guess;
    struct str sample = m->scan.sample;
    if (encoding_guess(sample, &guess, &err) != OK) return reject(m, arena_strdup(m->arena, err.text));
    if (guess.bom_bytes) { /* a BOM says more than the configuration does */
        m->plan.encoding = guess.encoding;
        m->plan.bom_bytes = guess.bom_bytes;
        return;
    }
    if (m->reading->encoding) {
        if (encoding_parse(str_of(m->reading->encoding), &m->plan.encoding, &err) != OK) reject(m, arena_strdup(m->arena, err.text));
        bool either_order = str_ieq(str_of(m->reading->encoding), STR("utf-16")) || str_ieq(str_of(m->reading->encoding), STR("utf16"));
        if (either_order && guess.known && guess.encoding.kind == ENCODING_UTF16BE) m->plan.encoding = guess.encoding;
        return;
    }
    m->plan.encoding = guess.encoding;
    if (!guess.known && !m->scan.utf8)
        reject(m,
            arena_printf(m->arena, "line %llu, column %llu: byte 0x%02X is not UTF-8; %s", (unsigned long long)m->scan.bad_line,
                (unsigned long long)m->scan.bad_column, m->scan.bad_byte, not_told_apart));
}

static void decode_sample(struct making *m) {
    struct str sample = str_from(m->scan.sample, m->plan.bom_bytes);
    m->whole = m->scan.text_bytes == m->scan.sample.n;
    m->text = sample;
    if (m->plan.encoding.kind != ENCODING_UTF16LE && m->plan.encoding.kind != ENCODING_UTF16BE) return;
    struct utf16_decoder decoder;
    utf16_begin(&decoder, m->plan.encoding.kind == ENCODING_UTF16BE);
    char *out = arena_alloc(m->tmp, sample.n / 2 * 3 + 64);
    size_t n = utf16_decode(&decoder, sample.p, sample.n, out);
    if (m->whole) n += utf16_end(&decoder, out + n);
    m->text = (struct str){out, n};
}

/* ---- format ---- */

static struct str extension(struct arena *arena, const char *name) {
    char *copy = arena_strdup(arena, name);
    for (char *p = copy; *p; p++)
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p | 32);
    struct str s = str_of(copy);
    static const char *const packed[] = {".gz", ".gzip", ".zst", ".zstd"};
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        if (str_ends(s, str_of(packed[i]))) {
            s.n -= strlen(packed[i]);
            break;
        }
    for (size_t i = s.n; i > 0; i--)
        if (s.p[i - 1] == '.') return str_from(s, i);
    return STR("");
}

/* Whether most of the first lines hold one balanced JSON value each: then one bad line is a bad row and not the end of the document. */
static bool looks_like_ndjson(struct str text, bool whole) {
    size_t lines = 0, fine = 0;
    while (text.n && lines < 20) {
        bool ended = memchr(text.p, '\n', text.n) != NULL;
        struct str line = str_trim(str_cut(&text, '\n'));
        if (line.n == 0) continue;
        if (!ended && !whole) break;
        struct json_end end = {0};
        size_t length;
        lines++;
        if (line.p[0] == '{' && json_find_end(&end, line, &length) && length == line.n) fine++;
    }
    return fine * 2 > lines;
}

static enum landing_format json_kind(const struct making *m) { return looks_like_ndjson(m->text, m->whole) ? LANDING_NDJSON : LANDING_JSON; }

static bool has_parquet_magic(struct str sample) { return sample.n >= 4 && memcmp(sample.p, "PAR1", 4) == 0; }

static void choose_format(struct making *m) {
    enum landing_format format = m->reading->format;
    struct str name = extension(m->tmp, m->plan.name), text = str_trim(m->text);
    if (format == LANDING_JSON || (format == LANDING_AUTO && str_is(name, "json")))
        format = json_kind(m);
    else if (format == LANDING_AUTO && (str_is(name, "ndjson") || str_is(name, "jsonl")))
        format = LANDING_NDJSON;
    else if (format == LANDING_AUTO && (str_is(name, "csv")))
        format = LANDING_CSV;
    else if (format == LANDING_AUTO && (str_is(name, "tsv") || str_is(name, "tab")))
        format = LANDING_TSV;
    else if (format == LANDING_AUTO && str_is(name, "log"))
        format = LANDING_LINES;
    else if (format == LANDING_AUTO && text.n && (text.p[0] == '{' || text.p[0] == '['))
        format = json_kind(m);
    else if (format == LANDING_AUTO)
        format = LANDING_CSV;
    m->plan.format = format;
    m->plan.ends = line_ends_detect(m->text);
}

/* ---- columns ---- */

static void csv_dialect_of(struct making *m) {
    const struct landing_reading *r = m->reading;
    struct csv_wishes wishes = {.delimiter = r->delimiter ? r->delimiter[0]
            : m->plan.format == LANDING_TSV               ? '\t'
                                                          : -1,
        .quote = r->quote ? r->quote[0] : -1,
        .escape = r->escape ? r->escape[0] : -1,
        .header = m->plan.header};
    m->plan.format = LANDING_CSV;
    m->plan.dialect = csv_detect(m->text, m->whole, &wishes);
}

/* The cells of the first record, in UTF-8, as column keys. */
static void name_csv_columns(struct making *m, const struct csv_parser *parser, const struct csv_record *record) {
    struct landing_plan *plan = &m->plan;
    if (record->cells_n > plan->columns_max)
        return reject(
            m, arena_printf(m->arena, "line %llu: %zu columns are over columns_max %zu", (unsigned long long)record->line, record->cells_n, plan->columns_max));
    struct str *keys = arena_new_array(m->tmp, struct str, record->cells_n);
    struct encoding_table table;
    if (plan->encoding.kind == ENCODING_SINGLE && encoding_table_make(&plan->encoding, &table, NULL) != OK) must_not();
    for (size_t i = 0; plan->header && i < record->cells_n; i++) {
        struct str text = csv_text(parser, m->tmp, parser->cells[i], parser->flags[i]);
        size_t bad_at = utf8_valid_prefix(text.p, text.n);
        bool fine = plan->encoding.kind == ENCODING_SINGLE ? encoding_decode(&table, m->tmp, text, &text, &bad_at) : bad_at == text.n;
        if (fine && memchr(text.p, 0, text.n)) return reject(m, arena_printf(m->arena, "header: a NUL byte stands in the name of column %zu", i + 1));
        if (!fine)
            return reject(m,
                arena_printf(
                    m->arena, "header: byte 0x%02X in the name of column %zu means nothing in %s", (unsigned char)text.p[bad_at], i + 1, plan->encoding.name));
        keys[i] = text;
    }
    plan->columns = landing_columns_name(m->arena, keys, record->cells_n);
    plan->columns_n = record->cells_n;
}

static void csv_columns(struct making *m) {
    csv_dialect_of(m);
    struct csv_parser parser;
    struct csv_record record = {0};
    char *bytes = arena_zalloc(m->tmp, m->text.n + CSV_PADDING);
    memcpy(bytes, m->text.p, m->text.n);
    csv_begin(&parser, m->plan.dialect, m->plan.record_bytes_max, m->plan.columns_max + 1);
    enum csv_step step = CSV_SKIP;
    size_t at = 0;
    while (step == CSV_SKIP && at < m->text.n) {
        step = csv_parse(&parser, bytes + at, bytes + m->text.n, m->whole, &record);
        if (step != CSV_MORE) at += record.used;
        if (step == CSV_RECORD && csv_is_blank(&parser, &record)) step = CSV_SKIP; /* blank lines before the header */
    }
    if (step == CSV_SKIP)
        reject(m, "no columns: the file is empty");
    else if (step == CSV_MORE)
        reject(m, arena_printf(m->arena, "the first record does not end within %u bytes", LANDING_SAMPLE_BYTES));
    else if (record.problem)
        reject(m,
            arena_printf(
                m->arena, "line %llu, column %zu: %s, in the first record", (unsigned long long)record.problem_line, record.problem_column, record.problem));
    else
        name_csv_columns(m, &parser, &record);
    csv_end(&parser);
}

/* JSON: the union of the keys of all rows, in the order of their first appearance. */
static enum status json_columns(struct making *m, struct err *err) {
    struct landing_rows *rows = NULL;
    struct landing_rows_options options = {.host = m->host, .plan = &m->plan, .keys_only = true};
    struct err problem;
    size_t n = 1;
    enum status st = landing_rows_open(&options, &rows, &problem);
    while (st == OK && n) st = landing_rows_next(rows, NULL, 0, &n, &problem);
    if (st == E_INVALID || st == E_LIMIT || st == E_CORRUPT)
        reject(m, arena_strdup(m->arena, problem.text));
    else if (st != OK) {
        landing_rows_close(&rows);
        return err_set(err, st, "%s", problem.text);
    } else {
        const struct str *keys = landing_rows_keys(rows, &n);
        m->plan.columns = landing_columns_name(m->arena, keys, n);
        m->plan.columns_n = n;
        m->plan.rows_max = landing_rows_counts(rows).read; /* values need nothing between them: {}{}{} */
        if (n == 0) reject(m, landing_rows_counts(rows).read ? "no columns: none of its rows is a JSON object with members" : "no columns: the file is empty");
    }
    landing_rows_close(&rows);
    return OK;
}

static enum status find_columns(struct making *m, struct err *err) {
    static struct str line_key = {"line", 4};
    switch (m->plan.format) {
    case LANDING_CSV:
    case LANDING_TSV: csv_columns(m); return OK;
    case LANDING_JSON:
    case LANDING_NDJSON: return json_columns(m, err);
    case LANDING_LINES:
        if (m->text.n == 0) reject(m, "the file is empty");
        m->plan.columns = landing_columns_name(m->arena, &line_key, 1);
        m->plan.columns_n = 1;
        return OK;
    case LANDING_AUTO:
    case LANDING_PARQUET: break;
    }
    must_not();
}

static enum status examine(struct making *m, struct err *err) {
    struct landing_plan *plan = &m->plan;
    if (m->scan.damage != OK) {
        reject(m, arena_strdup(m->arena, m->scan.damage_text));
        return OK;
    }
    bool parquet = has_parquet_magic(m->scan.sample);
    if (m->reading->format == LANDING_PARQUET && !parquet) {
        reject(m, "this is not a Parquet file: it does not begin with PAR1");
        return OK;
    }
    if (parquet && (m->reading->format == LANDING_PARQUET || m->reading->format == LANDING_AUTO)) {
        plan->format = LANDING_PARQUET;
        return OK;
    }
    plan->rows_max = m->scan.lf + m->scan.cr + m->scan.commas + 1;
    choose_encoding(m);
    if (plan->rejection) return OK;
    decode_sample(m);
    choose_format(m);
    return find_columns(m, err);
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

enum status landing_plan_make(
    const struct host *host, struct arena *arena, const char *path, const struct landing_reading *reading, struct landing_plan *out, struct err *err) {
    enum status st = landing_reading_check(reading, err);
    if (st != OK) return st;
    ARENA_SCOPE(tmp);
    struct making m = {.host = host, .arena = arena, .tmp = tmp, .reading = reading};
    m.plan.path = arena_strdup(arena, path);
    m.plan.name = last_part(m.plan.path);
    m.plan.header = !reading->no_header;
    m.plan.nulls = reading->nulls;
    m.plan.nulls_n = reading->nulls_n;
    m.plan.record_bytes_max = reading->record_bytes_max ? reading->record_bytes_max : LANDING_RECORD_BYTES_DEFAULT;
    m.plan.columns_max = reading->columns_max ? reading->columns_max : LANDING_COLUMNS_DEFAULT;
    struct fs_stat stat;
    st = host->fs->stat(host->fs->self, path, &stat, err);
    if (st == OK) st = file_scan(host, tmp, path, LANDING_SAMPLE_BYTES, reading->file_bytes_max, &m.scan, err);
    if (st != OK) return st;
    memcpy(m.plan.hash, m.scan.hash, sizeof m.plan.hash);
    m.plan.size_bytes = m.scan.size_bytes;
    m.plan.text_bytes = m.scan.text_bytes;
    m.plan.compression = m.scan.compression;
    m.plan.mtime_ns = (uint64_t)stat.mtime_ns;
    m.plan.inode = stat.inode;
    st = examine(&m, err);
    if (st == OK) st = landing_plan_unchanged(host, &m.plan, err);
    if (st != OK) return st;
    *out = m.plan;
    return OK;
}

enum status landing_plan_unchanged(const struct host *host, const struct landing_plan *plan, struct err *err) {
    struct fs_stat stat;
    enum status st = host->fs->stat(host->fs->self, plan->path, &stat, err);
    if (st != OK) return st;
    if ((uint64_t)stat.mtime_ns != plan->mtime_ns || stat.inode != plan->inode || stat.size_bytes != plan->size_bytes)
        return err_set(err, E_BUSY, "%s changed while it was read", plan->path);
    return OK;
}
