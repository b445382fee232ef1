/* Model files: the YAML block in front of the SQL, read by one table of keys, so that parser, messages and documentation cannot drift apart. */
#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "flow/flow_priv.h"

enum key_type { KEY_CHOICE, KEY_TEXT, KEY_NAME, KEY_NAMES, KEY_DURATION, KEY_BOOL, KEY_READS, KEY_NOTES, KEY_EMIT, KEY_ROWS };

enum { FOR_STREAM = 1, FOR_INCREMENTAL = 2, FOR_FULL = 4, FOR_VIEW = 8, FOR_TABLES = FOR_STREAM | FOR_INCREMENTAL | FOR_FULL, FOR_ALL = 15 };

struct key_row {
    const char *name;
    enum key_type type;
    size_t offset; /* in struct model */
    const char *choices; /* "a|b", in the order of the enum's numbers */
    int choice_from; /* the enum's number of the first choice */
    unsigned kinds;
};

#define AT(field) offsetof(struct model, field)

static const struct key_row key_rows[] = {
    {"kind", KEY_CHOICE, AT(pub.kind), "stream|incremental|full|view", FLOW_STREAM, FOR_ALL},
    {"key", KEY_NAMES, AT(key), NULL, 0, FOR_TABLES},
    {"order", KEY_NAMES, AT(order), NULL, 0, FOR_STREAM},
    {"together", KEY_NAME, AT(together_at), NULL, 0, FOR_STREAM},
    {"within", KEY_NAMES, AT(within), NULL, 0, FOR_STREAM},
    {"deletes", KEY_TEXT, AT(pub.deletes), NULL, 0, FOR_STREAM},
    {"drops", KEY_TEXT, AT(pub.drops), NULL, 0, FOR_TABLES},
    {"expands", KEY_BOOL, AT(pub.expands), NULL, 0, FOR_TABLES},
    {"unvalidated", KEY_BOOL, AT(pub.unvalidated), NULL, 0, FOR_STREAM},
    {"time", KEY_NAME, AT(time_at), NULL, 0, FOR_ALL},
    {"bucket", KEY_CHOICE, AT(pub.bucket), "hour|day", FLOW_BUCKET_HOUR, FOR_INCREMENTAL},
    {"by", KEY_NAMES, AT(by), NULL, 0, FOR_INCREMENTAL},
    {"merge", KEY_BOOL, AT(pub.merge), NULL, 0, FOR_INCREMENTAL},
    {"rows", KEY_ROWS, AT(pub.rows), NULL, 0, FOR_INCREMENTAL},
    {"state", KEY_NAMES, AT(state), NULL, 0, FOR_TABLES},
    {"within_time", KEY_DURATION, AT(pub.within_time_ms), NULL, 0, FOR_INCREMENTAL},
    {"lookback", KEY_DURATION, AT(pub.lookback_ms), NULL, 0, FOR_INCREMENTAL},
    {"reads", KEY_READS, AT(reads), NULL, 0, FOR_INCREMENTAL},
    {"lookups", KEY_NAMES, AT(lookups), NULL, 0, FOR_TABLES},
    {"depends_on", KEY_NAMES, AT(depends_on), NULL, 0, FOR_ALL},
    {"store", KEY_CHOICE, AT(pub.store), "warehouse|lake|both", FLOW_STORE_WAREHOUSE, FOR_TABLES},
    {"on_schema_change", KEY_CHOICE, AT(pub.on_schema_change), "append|fail", FLOW_SCHEMA_APPEND, FOR_TABLES},
    {"emit", KEY_EMIT, AT(pub.emit), NULL, 0, FOR_TABLES},
    {"description", KEY_TEXT, AT(pub.description), NULL, 0, FOR_ALL},
    {"columns", KEY_NOTES, AT(notes), NULL, 0, FOR_ALL},
    {"owner", KEY_TEXT, AT(pub.owner), NULL, 0, FOR_ALL},
    {"tags", KEY_NAMES, AT(tags), NULL, 0, FOR_ALL},
};
#define KEYS (sizeof key_rows / sizeof *key_rows)

/* ---- messages ---- */

#define problem(r, node, ...) config_problem_add((r)->problems, false, (node)->line, (node)->column, __VA_ARGS__)

const char *flow_suggest(struct arena *arena, const char *given, const char *const *names, size_t n) {
    must(given && (names || !n));
    const char *best = NULL;
    int best_distance = 8;
    for (size_t i = 0; i < n; i++) {
        int distance = str_distance(str_of(given), str_of(names[i]));
        if (distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    size_t length = strlen(given);
    bool near = best && best_distance <= (length <= 3 ? 1 : length <= 6 ? 2 : 3);
    return near ? arena_printf(arena, " (did you mean \"%s\"?)", best) : "";
}

static const char *kind_names[] = {"stream", "incremental", "full", "view", "reference"};

const char *flow_kind_name(enum flow_kind kind) {
    must(kind >= FLOW_STREAM && kind <= FLOW_REFERENCE);
    return kind_names[kind];
}

/* ---- values; each reader returns false after it said what is wrong ---- */

static bool need_text(struct model_reader *r, const char *what, const struct yaml_node *node) {
    if (node->broken) return false;
    if (node->kind == YAML_TEXT && !node->is_null && node->text.n) return true;
    problem(r, node, node->kind == YAML_TEXT ? "%s has no value" : "%s must be one value", what);
    return false;
}

static bool read_choice(struct model_reader *r, const struct key_row *row, const struct yaml_node *node, void *at) {
    if (!need_text(r, row->name, node)) return false;
    const char *names[8];
    size_t n = 0;
    for (struct str rest = str_of(row->choices); rest.p && n < 8; n++) {
        struct str one = str_cut(&rest, '|');
        names[n] = arena_strndup(r->arena, one.p, one.n);
        if (str_eq(one, node->text)) {
            *(int *)at = row->choice_from + (int)n;
            return true;
        }
    }
    problem(r, node, "%s is one of %s, not \"%s\"%s", row->name, arena_printf(r->arena, "%s", row->choices), node->text.p,
        flow_suggest(r->arena, node->text.p, names, n));
    return false;
}

static bool read_bool(struct model_reader *r, const char *what, const struct yaml_node *node, bool *out) {
    if (!need_text(r, what, node)) return false;
    bool yes = str_is(node->text, "true") || str_is(node->text, "yes"), no = str_is(node->text, "false") || str_is(node->text, "no");
    if (!yes && !no) problem(r, node, "%s is true or false, not \"%s\"", what, node->text.p);
    *out = yes;
    return yes || no;
}

static bool read_duration(struct model_reader *r, const char *what, const struct yaml_node *node, int64_t *out) {
    if (!need_text(r, what, node)) return false;
    if (str_to_duration_ms(node->text, out) && *out > 0) return true;
    problem(r, node, "%s is a time such as 30d, 24h or 30m, not \"%s\"", what, node->text.p);
    return false;
}

static bool read_name(struct model_reader *r, const char *what, const struct yaml_node *node, struct name_at *out) {
    if (!need_text(r, what, node)) return false;
    *out = (struct name_at){arena_str(r->arena, node->text).p, node->line, node->column};
    return true;
}

/* A list, or one name alone. */
static bool read_names(struct model_reader *r, const char *what, const struct yaml_node *node, struct names_at *out) {
    if (node->kind == YAML_MAP) {
        problem(r, node, "%s is a list of names", what);
        return false;
    }
    size_t n = node->kind == YAML_LIST ? node->n : 1;
    out->list = arena_new_array(r->arena, struct name_at, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (!read_name(r, what, node->kind == YAML_LIST ? node->items[i] : node, &out->list[out->n])) return false;
        out->n++;
    }
    return true;
}

static bool read_reads(struct model_reader *r, const struct yaml_node *node, struct model *m) {
    if (node->kind != YAML_MAP) {
        problem(r, node, "reads is a map of tables and times, as {silver.sales: 30d, silver.stock: until_next}");
        return false;
    }
    bool good = true;
    m->reads = arena_new_array(r->arena, struct reads_row, node->n + 1);
    for (size_t i = 0; i < node->n; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        struct reads_row row = {.input = {arena_str(r->arena, pair->key).p, pair->line, pair->column}};
        row.until_next = pair->value->kind == YAML_TEXT && str_is(pair->value->text, "until_next");
        if (row.until_next || read_duration(r, row.input.name, pair->value, &row.ms)) {
            m->reads[m->reads_n++] = row;
        } else {
            good = false;
        }
    }
    return good;
}

static bool read_notes(struct model_reader *r, const struct yaml_node *node, struct model *m) {
    if (node->kind != YAML_MAP) {
        problem(r, node, "columns is a map of column names and descriptions");
        return false;
    }
    m->notes = arena_new_array(r->arena, struct note_row, node->n + 1);
    for (size_t i = 0; i < node->n; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        if (!need_text(r, "the description of a column", pair->value)) return false;
        m->notes[m->notes_n++] = (struct note_row){{arena_str(r->arena, pair->key).p, pair->line, pair->column}, arena_str(r->arena, pair->value->text).p};
    }
    return true;
}

/* columns: a list of names, or a map of names and SQL over old and new. */
static bool read_emit_columns(struct model_reader *r, const struct yaml_node *node, struct model *m) {
    if (node->kind == YAML_TEXT) {
        problem(r, node, "emit.columns is a list of columns, or a map of names and SQL over old and new");
        return false;
    }
    m->emit_columns = arena_new_array(r->arena, struct emit_column, node->n + 1);
    for (size_t i = 0; i < node->n; i++) {
        const struct yaml_node *value = node->kind == YAML_LIST ? node->items[i] : node->pairs[i].value;
        if (!need_text(r, "emit.columns", value)) return false;
        const char *text = arena_str(r->arena, value->text).p;
        m->emit_columns[m->emit_columns_n++] =
            node->kind == YAML_LIST ? (struct emit_column){text, NULL} : (struct emit_column){arena_str(r->arena, node->pairs[i].key).p, text};
    }
    return true;
}

static bool read_emit(struct model_reader *r, const struct yaml_node *node, struct model *m) {
    static const char *const names[] = {"stream", "columns", "when", "type"};
    if (node->kind != YAML_MAP) {
        problem(r, node, "emit is a map: {stream: alerts, columns: […], when: \"…\"}");
        return false;
    }
    bool good = true;
    for (size_t i = 0; i < node->n; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        if (str_is(pair->key, "columns")) {
            good = read_emit_columns(r, pair->value, m) && good;
            continue;
        }
        const char **at = str_is(pair->key, "stream") ? &m->pub.emit.stream
            : str_is(pair->key, "when")               ? &m->pub.emit.when
            : str_is(pair->key, "type")               ? &m->pub.emit.type
                                                      : NULL;
        if (!at) {
            problem(r, pair, "unknown key emit.%s%s", pair->key.p, flow_suggest(r->arena, pair->key.p, names, 4));
            good = false;
        } else if (need_text(r, "emit", pair->value)) {
            *at = arena_str(r->arena, pair->value->text).p;
        } else {
            good = false;
        }
    }
    if (good && !m->pub.emit.stream) problem(r, node, "emit needs a stream");
    return good && m->pub.emit.stream;
}

static bool read_key(struct model_reader *r, const struct key_row *row, const struct yaml_node *node, struct model *m) {
    void *at = (char *)m + row->offset;
    switch (row->type) {
    case KEY_CHOICE: return read_choice(r, row, node, at);
    case KEY_BOOL: return read_bool(r, row->name, node, at);
    case KEY_DURATION: return read_duration(r, row->name, node, at);
    case KEY_NAME: return read_name(r, row->name, node, at);
    case KEY_NAMES: return read_names(r, row->name, node, at);
    case KEY_READS: return read_reads(r, node, m);
    case KEY_NOTES: return read_notes(r, node, m);
    case KEY_EMIT: return read_emit(r, node, m);
    case KEY_ROWS: m->pub.rows_line = node->line; __attribute__((fallthrough));
    case KEY_TEXT:
        if (!need_text(r, row->name, node)) return false;
        *(const char **)at = arena_str(r->arena, node->text).p;
        return true;
    }
    must_not();
}

static const struct key_row *find_key(struct str name) {
    for (size_t i = 0; i < KEYS; i++) {
        if (str_is(name, key_rows[i].name)) return &key_rows[i];
    }
    return NULL;
}

static void read_header(struct model_reader *r, const struct yaml_node *header, struct model *m) {
    const char *names[KEYS];
    for (size_t i = 0; i < KEYS; i++) names[i] = key_rows[i].name;
    const struct yaml_pair *kind = yaml_pair_of(header, "kind");
    if (!kind) {
        config_problem_add(r->problems, false, m->header_line, 1, "the model has no kind (stream, incremental, full or view)");
        m->broken = true;
    } else if (!read_key(r, find_key(STR("kind")), kind->value, m)) {
        m->broken = true;
        kind = NULL;
    }
    for (size_t i = 0; i < header->n; i++) {
        const struct yaml_pair *pair = &header->pairs[i];
        const struct key_row *row = find_key(pair->key);
        if (!row) {
            problem(r, pair, "unknown key %s%s", pair->key.p, flow_suggest(r->arena, pair->key.p, names, KEYS));
            m->broken = true;
        } else if (kind && !(row->kinds & (1u << m->pub.kind))) {
            problem(r, pair, "%s means nothing in a model of kind %s", row->name, flow_kind_name(m->pub.kind));
            m->broken = true;
        } else if (row->type != KEY_CHOICE || !str_is(pair->key, "kind")) {
            if (!read_key(r, row, pair->value, m)) m->broken = true;
            m->store_given = m->store_given || str_is(pair->key, "store");
        }
    }
}

/* ---- rules over several keys ---- */

static const char *const *plain(struct arena *arena, const struct names_at *names) {
    const char **list = arena_new_array(arena, const char *, names->n + 1);
    for (size_t i = 0; i < names->n; i++) list[i] = names->list[i].name;
    return list;
}

static void take_lists(struct model_reader *r, struct model *m) {
    struct flow_model *p = &m->pub;
    static struct name_at arrival[] = {{"_received_at", 0, 0}, {"_event_id", 0, 0}};
    m->order_given = m->order.n > 0;
    if (!m->order_given) m->order = (struct names_at){arrival, 2};
    p->key = plain(r->arena, &m->key), p->key_n = m->key.n;
    p->order = plain(r->arena, &m->order), p->order_n = m->order.n;
    p->within = plain(r->arena, &m->within), p->within_n = m->within.n;
    p->by = plain(r->arena, &m->by), p->by_n = m->by.n;
    p->state = plain(r->arena, &m->state), p->state_n = m->state.n;
    p->tags = plain(r->arena, &m->tags), p->tags_n = m->tags.n;
    p->time = m->time_at.name;
    p->together = m->together_at.name;
    const char **emitted = arena_new_array(r->arena, const char *, m->emit_columns_n + 1);
    for (size_t i = 0; i < m->emit_columns_n; i++) emitted[i] = m->emit_columns[i].name;
    p->emit.columns = emitted, p->emit.columns_n = m->emit_columns_n;
    struct flow_column *columns = arena_new_array(r->arena, struct flow_column, m->notes_n + 1);
    for (size_t i = 0; i < m->notes_n; i++) columns[i] = (struct flow_column){.name = m->notes[i].column.name, .description = m->notes[i].text};
    p->columns = columns, p->columns_n = m->notes_n;
}

static void check_rules(struct model_reader *r, struct model *m) {
    const struct flow_model *p = &m->pub;
    const char *wrong = NULL;
    if (p->kind == FLOW_INCREMENTAL && !p->bucket && !p->by_n) wrong = "an incremental model says what it restates: bucket (with time), or by";
    if (p->bucket && !p->time) wrong = "bucket needs time: the column of the output that says which bucket a row belongs to";
    if (p->rows && !p->merge) m->pub.merge = true;
    if (p->merge && !p->rows) wrong = "merge needs rows: the SELECT that gives one piece per input row";
    if (p->merge && !p->by_n) wrong = "merge needs by: the columns that say which pieces belong together";
    if (p->within_time_ms && !(p->merge && p->time)) wrong = "within_time belongs to models with merge and time";
    if ((p->together || p->within_n || p->deletes) && !p->key_n) wrong = "together, within and deletes need a key";
    if (p->within_n && !p->together) wrong = "within needs together";
    if (p->emit.stream && !p->key_n) wrong = "emit needs a key: it pairs old and new rows";
    if (p->emit.stream && p->together) wrong = "emit pairs an old and a new row of each key: with together a key has several";
    if (!wrong) return;
    config_problem_add(r->problems, false, m->header_line, 1, "%s", wrong);
    m->broken = true;
}

/* ---- the file ---- */

/* The block comment that begins with the word cupel, if the file begins with one. *end: behind it. */
static bool find_header(struct str text, size_t *begin, size_t *end) {
    size_t i = 0;
    while (i < text.n && isspace((unsigned char)text.p[i])) i++;
    if (!str_starts(str_from(text, i), STR("/*"))) return false;
    size_t word = i + 2;
    while (word < text.n && isspace((unsigned char)text.p[word])) word++;
    if (!str_starts(str_from(text, word), STR("cupel")) || (word + 5 < text.n && !isspace((unsigned char)text.p[word + 5]))) return false;
    *begin = word + 5;
    long close = str_find(str_from(text, *begin), STR("*/"));
    *end = close < 0 ? 0 : *begin + (size_t)close;
    return true;
}

static int line_of(struct str text, size_t at) {
    int line = 1;
    for (size_t i = 0; i < at && i < text.n; i++) line += text.p[i] == '\n';
    return line;
}

/* The YAML where it stands in the file: what is before it becomes blanks, so that lines and columns are the file's. */
static struct str blanked(struct arena *arena, struct str text, size_t begin, size_t end) {
    char *copy = arena_strndup(arena, text.p, end);
    for (size_t i = 0; i < begin; i++) {
        if (copy[i] != '\n') copy[i] = ' ';
    }
    for (size_t i = begin; i-- > 0 && copy[i] != '\n';) copy[i] = ' ';
    return str_make(copy, end);
}

/* Without blanks, comments and semicolons at the end, and blanks at the start. */
static bool take_sql(struct model_reader *r, struct model *m, struct str text, size_t from) {
    while (from < text.n && isspace((unsigned char)text.p[from])) from++;
    struct str sql = str_trim(str_from(text, from));
    while (sql.n && (sql.p[sql.n - 1] == ';' || isspace((unsigned char)sql.p[sql.n - 1]))) sql.n--;
    if (!sql.n) {
        config_problem_add(r->problems, false, m->header_line, 1, "the model has no SQL");
        return false;
    }
    if (memchr(sql.p, 0, sql.n) || !utf8_valid(sql)) {
        config_problem_add(r->problems, false, m->header_line, 1, "the SQL is not valid UTF-8 text");
        return false;
    }
    m->pub.sql = arena_str(r->arena, sql).p;
    m->pub.sql_line = line_of(text, from);
    m->sql_column = 1;
    for (size_t i = from; i > 0 && text.p[i - 1] != '\n'; i--) m->sql_column++;
    return true;
}

void model_place(const struct model *m, size_t sql_byte, int *line, int *column) {
    must(m && line && column);
    size_t n = strlen(m->pub.sql);
    *line = m->pub.sql_line;
    *column = m->sql_column;
    for (size_t i = 0; i < sql_byte && i < n; i++) {
        *column = m->pub.sql[i] == '\n' ? 1 : *column + 1;
        *line += m->pub.sql[i] == '\n';
    }
}

struct model *model_read(struct model_reader *r, const char *file, const char *schema, const char *name, struct str text) {
    must(r && file && schema && name);
    struct model *m = arena_new_one(r->arena, struct model);
    m->pub.schema = arena_strdup(r->arena, schema);
    m->pub.name = arena_strdup(r->arena, name);
    m->pub.full = arena_printf(r->arena, "%s.%s", schema, name);
    m->pub.file = arena_strdup(r->arena, file);
    m->header_line = 1;
    size_t begin, end;
    if (!find_header(text, &begin, &end) || !end) {
        config_problem_add(r->problems, false, 1, 1, "a model begins with its settings as YAML in a comment: /* cupel … */");
        return NULL;
    }
    m->header_line = line_of(text, begin);
    size_t errors = r->problems->errors;
    static const struct config_environment nothing;
    const struct yaml_node *header = yaml_read(r->arena, blanked(r->arena, text, begin, end), &nothing, r->problems);
    m->broken = !header || r->problems->errors > errors;
    if (!header) return NULL;
    if (header->kind != YAML_MAP) {
        problem(r, header, "the settings are a map of keys and values");
        return NULL;
    }
    m->header = header;
    read_header(r, header, m);
    take_lists(r, m);
    if (!m->broken) check_rules(r, m);
    if (!take_sql(r, m, text, end + 2)) return NULL;
    return m;
}
