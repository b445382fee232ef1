/* Reading expectations: our YAML, and Great Expectations' suites (JSON is YAML's flow style, so one reader gives both places for messages). */
#include "flow/expect.h"

#include <string.h>

#include "base/assert.h"
#include "base/map.h"
#include "flow/expect_priv.h"

struct expect_reader {
    struct arena *arena;
    struct config_problems *problems;
    struct expect_suite *suite;
    struct expectation *list;
    size_t n;
    struct map *labels;
};

#define wrong(r, node, ...) config_problem_add((r)->problems, false, (node)->line, (node)->column, __VA_ARGS__)

/* ---- words ---- */

/* What a list of "a|b" says: the index, or -1 after it was said. */
static int read_choice(struct expect_reader *r, const char *what, const struct yaml_node *node, const char *choices) {
    const char *names[8];
    size_t n = 0;
    struct str rest = str_of(choices);
    while (rest.p && n < 8) {
        struct str one = str_cut(&rest, '|');
        names[n++] = arena_strndup(r->arena, one.p, one.n);
    }
    for (size_t i = 0; node->kind == YAML_TEXT && i < n; i++) {
        if (str_is(node->text, names[i])) return (int)i;
    }
    char *said = arena_strdup(r->arena, choices);
    for (char *c = said; *c; c++) *c = *c == '|' ? ',' : *c;
    wrong(r, node, "%s must be one of %s%s", what, said, node->kind == YAML_TEXT ? expect_suggest(r->arena, node->text.p, names, n) : "");
    return -1;
}

/* The nearest name when it is near enough: a third of its letters, at most `most`. */
static const char *nearest(struct arena *arena, struct str given, const char *const *names, size_t n, int most) {
    const char *best = NULL;
    int best_distance = most + 1;
    for (size_t i = 0; i < n; i++) {
        int distance = str_distance(given, str_of(names[i]));
        if (distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best && best_distance <= (int)(given.n + 2) / 3 ? arena_printf(arena, " (did you mean \"%s\"?)", best) : "";
}

const char *expect_suggest(struct arena *arena, const char *given, const char *const *names, size_t n) {
    must(arena && given);
    return nearest(arena, str_of(given), names, n, 3);
}

static const char *suggest_type(struct expect_reader *r, struct str given) {
    const char **names = arena_new_array(r->arena, const char *, expectation_kinds_n);
    for (size_t i = 0; i < expectation_kinds_n; i++) names[i] = expectation_kinds[i].type;
    return nearest(r->arena, str_head(given, 100), names, expectation_kinds_n, 7); /* str_distance ends at 8 */
}

/* ---- values of arguments: each says what is wrong and returns false ---- */

static bool is_scalar(struct expect_reader *r, const char *name, const struct yaml_node *node) {
    if (node->kind == YAML_TEXT && !node->is_null) return true;
    wrong(r, node, "%s must be one value", name);
    return false;
}

static bool is_list(struct expect_reader *r, const char *name, const struct yaml_node *node, size_t least, size_t most) {
    if (node->kind == YAML_LIST && node->n >= least && node->n <= most) return true;
    if (node->kind != YAML_LIST)
        wrong(r, node, "%s must be a list", name);
    else if (node->n < least)
        wrong(r, node, least == 1 ? "%s is an empty list" : "%s must have at least %zu entries", name, least);
    else
        wrong(r, node, "%s has %zu entries, at most %zu", name, node->n, most);
    return false;
}

static bool are_scalars(struct expect_reader *r, const char *name, const struct yaml_node *list, bool nulls) {
    for (size_t i = 0; i < list->n; i++) {
        const struct yaml_node *item = list->items[i];
        if (item->kind == YAML_TEXT && (nulls || !item->is_null)) continue;
        wrong(r, item, "an entry of %s must be one value", name);
        return false;
    }
    return true;
}

static bool check_pairs(struct expect_reader *r, const struct yaml_node *node) {
    if (!is_list(r, "value_pairs_set", node, 1, 10000)) return false;
    for (size_t i = 0; i < node->n; i++) {
        const struct yaml_node *pair = node->items[i];
        if (pair->kind != YAML_LIST || pair->n != 2) {
            wrong(r, pair, "an entry of value_pairs_set must be a list of two values");
            return false;
        }
        if (!are_scalars(r, "a pair", pair, true)) return false;
    }
    return true;
}

static bool check_quantile(struct expect_reader *r, const struct yaml_node *quantile, const struct yaml_node *range) {
    double share;
    if (quantile->kind != YAML_TEXT || !text_is_number(quantile->text) || !str_to_double(quantile->text, &share) || share < 0 || share > 1) {
        wrong(r, quantile, "a quantile must be a number from 0 to 1");
        return false;
    }
    if (range->kind != YAML_LIST || range->n != 2) {
        wrong(r, range, "a range must be a list of two values, null for no bound");
        return false;
    }
    return are_scalars(r, "a range", range, true);
}

static bool check_quantiles(struct expect_reader *r, const struct yaml_node *node) {
    const struct yaml_node *quantiles = yaml_get(node, "quantiles"), *ranges = yaml_get(node, "value_ranges");
    if (node->kind != YAML_MAP || !quantiles || !ranges || node->n != 2) {
        wrong(r, node, "quantile_ranges must be a map of quantiles and value_ranges");
        return false;
    }
    if (!is_list(r, "quantiles", quantiles, 1, 100) || !is_list(r, "value_ranges", ranges, 1, 100)) return false;
    if (quantiles->n != ranges->n) {
        wrong(r, ranges, "value_ranges has %zu entries, quantiles %zu", ranges->n, quantiles->n);
        return false;
    }
    for (size_t i = 0; i < quantiles->n; i++) {
        if (!check_quantile(r, quantiles->items[i], ranges->items[i])) return false;
    }
    return true;
}

static bool check_number(struct expect_reader *r, const char *name, const struct yaml_node *node, bool count) {
    uint64_t whole;
    if (!is_scalar(r, name, node)) return false;
    if (count ? str_to_u64(node->text, &whole) : text_is_number(node->text)) return true;
    wrong(r, node, count ? "%s must be a whole number from 0" : "%s must be a number", name);
    return false;
}

static bool check_text(struct expect_reader *r, const struct expect_argument *a, const struct yaml_node *node) {
    int64_t ms;
    if (!is_scalar(r, a->name, node)) return false;
    if (!node->text.n) {
        wrong(r, node, "%s is empty", a->name);
        return false;
    }
    if (a->type == ARGUMENT_DURATION && (!str_to_duration_ms(node->text, &ms) || ms <= 0)) {
        wrong(r, node, "%s must be a duration such as 15m, 24h or 7d", a->name);
        return false;
    }
    struct str name = node->text, schema = str_cut(&name, '.');
    if (a->type == ARGUMENT_TABLE && (!schema.n || !name.n || memchr(name.p, '.', name.n))) {
        wrong(r, node, "%s must be a table with its schema, as in ref.stores", a->name);
        return false;
    }
    if (a->type == ARGUMENT_QUERY && str_find(node->text, STR("{table}")) < 0 && str_find(node->text, STR("{batch}")) < 0) {
        config_problem_add(r->problems, true, node->line, node->column, "the query does not look at the batch: it names neither {batch} nor {table}");
    }
    return true;
}

static bool check_flag(struct expect_reader *r, const char *name, const struct yaml_node *node) {
    if (yaml_is_true(node) || yaml_is_false(node)) return true;
    wrong(r, node, "%s must be true or false", name);
    return false;
}

static bool check_argument(struct expect_reader *r, const struct expect_argument *a, const struct yaml_node *node) {
    if (node->broken) return false;
    switch (a->type) {
    case ARGUMENT_COLUMNS: return is_list(r, a->name, node, 1, EXPECT_COLUMNS_MAX) && are_scalars(r, a->name, node, false);
    case ARGUMENT_NAMES: return is_list(r, a->name, node, 0, 1000) && are_scalars(r, a->name, node, false);
    case ARGUMENT_TEXTS: return is_list(r, a->name, node, 1, 1000) && are_scalars(r, a->name, node, false);
    case ARGUMENT_VALUES: return is_list(r, a->name, node, 1, 10000) && are_scalars(r, a->name, node, true);
    case ARGUMENT_PAIRS: return check_pairs(r, node);
    case ARGUMENT_QUANTILES: return check_quantiles(r, node);
    case ARGUMENT_NUMBER: return check_number(r, a->name, node, false);
    case ARGUMENT_COUNT: return check_number(r, a->name, node, true);
    case ARGUMENT_FLAG: return check_flag(r, a->name, node);
    case ARGUMENT_CHOICE: return read_choice(r, a->name, node, a->choices) >= 0;
    case ARGUMENT_VALUE: return is_scalar(r, a->name, node);
    default: return check_text(r, a, node);
    }
}

/* ---- one expectation ---- */

/* Arguments that every expectation takes, and such of Great Expectations that mean nothing here. */
static const char *const common_names[] = {"mostly", "severity", "row_condition", "condition_parser", "on_fail", "notes", "meta", "description"};
static const char *const ignored_names[] = {
    "batch_id", "result_format", "include_config", "catch_exceptions", "id", "ge_cloud_id", "windows", "rendered_content"};

static bool named(const char *const *list, size_t n, struct str name) {
    for (size_t i = 0; i < n; i++) {
        if (str_is(name, list[i])) return true;
    }
    return false;
}
#define NAMED(list, name) named(list, sizeof(list) / sizeof *(list), name)

static const struct expect_argument *find_argument(const struct expectation_kind *kind, struct str name) {
    for (size_t i = 0; i < EXPECT_ARGUMENTS_MAX && kind->arguments[i].name; i++) {
        if (str_is(name, kind->arguments[i].name)) return &kind->arguments[i];
    }
    return NULL;
}

static void unknown_argument(struct expect_reader *r, const struct expectation_kind *kind, const struct yaml_pair *pair) {
    const char *names[EXPECT_ARGUMENTS_MAX + sizeof common_names / sizeof *common_names];
    size_t n = 0;
    for (size_t i = 0; i < EXPECT_ARGUMENTS_MAX && kind->arguments[i].name; i++) names[n++] = kind->arguments[i].name;
    for (size_t i = 0; i < sizeof common_names / sizeof *common_names; i++) names[n++] = common_names[i];
    char *given = arena_strndup(r->arena, pair->key.p, pair->key.n);
    config_problem_add(
        r->problems, false, pair->line, pair->column, "%s has no argument \"%s\"%s", kind->type, given, expect_suggest(r->arena, given, names, n));
}

static bool check_arguments(struct expect_reader *r, const struct expectation_kind *kind, const struct yaml_node *place, const struct yaml_node *values) {
    bool fine = true;
    for (size_t i = 0; i < values->n; i++) {
        const struct yaml_pair *pair = &values->pairs[i];
        const struct expect_argument *a = find_argument(kind, pair->key);
        if (!a && NAMED(common_names, pair->key)) continue;
        if (!a && NAMED(ignored_names, pair->key)) continue;
        if (!a)
            unknown_argument(r, kind, pair), fine = false;
        else if (!pair->value->is_null || a->required)
            fine = check_argument(r, a, pair->value) && fine;
    }
    for (size_t i = 0; i < EXPECT_ARGUMENTS_MAX && kind->arguments[i].name; i++) {
        if (!kind->arguments[i].required || yaml_get(values, kind->arguments[i].name)) continue;
        wrong(r, place, "%s needs %s", kind->type, kind->arguments[i].name);
        fine = false;
    }
    const struct yaml_node *min = yaml_get(values, "min_value"), *max = yaml_get(values, "max_value");
    if (fine && kind->needs_bound && (!min || min->is_null) && (!max || max->is_null)) {
        wrong(r, place, "%s needs min_value, max_value or both", kind->type);
        fine = false;
    }
    return fine;
}

/* ---- conditions ---- */

/* Great Expectations' own language of conditions, `col("a") == "b"`, in SQL: names and texts change quotes, .notnull() becomes IS NOT NULL. */
static char *translate_condition(struct arena *arena, struct str text) {
    BUF_SCOPE(out);
    for (size_t i = 0; i < text.n;) {
        struct str rest = str_from(text, i);
        bool column = str_starts(rest, STR("col(\""));
        if (column || rest.p[0] == '"') {
            struct str inner = str_from(rest, column ? 5 : 1);
            size_t n = 0;
            while (n < inner.n && inner.p[n] != '"') n++;
            buf_char(&out, column ? '"' : '\'');
            for (size_t k = 0; k < n; k++) {
                if (!column && inner.p[k] == '\'') buf_char(&out, '\'');
                buf_char(&out, inner.p[k]);
            }
            buf_char(&out, column ? '"' : '\'');
            i += (column ? 5 : 1) + n + (column ? 2 : 1);
        } else if (str_starts(rest, STR(".notnull()"))) {
            buf_text(&out, " IS NOT NULL");
            i += 10;
        } else {
            buf_char(&out, rest.p[0]);
            i++;
        }
    }
    return arena_strndup(arena, out.n ? out.p : "", out.n);
}

static void read_condition(struct expect_reader *r, const struct yaml_node *values, struct expectation *e) {
    const struct yaml_node *given = yaml_get(values, "row_condition"), *parser = yaml_get(values, "condition_parser");
    if (!given || given->is_null) return;
    if (given->kind != YAML_TEXT || !str_trim(given->text).n) {
        wrong(r, given, "row_condition must be a text");
        return;
    }
    bool named_parser = parser && !parser->is_null;
    if (named_parser && parser->kind == YAML_TEXT && (str_starts(parser->text, STR("great_expectations")))) {
        e->row_condition = translate_condition(r->arena, given->text);
    } else if (!named_parser || (parser->kind == YAML_TEXT && (str_is(parser->text, "sql") || str_is(parser->text, "spark")))) {
        e->row_condition = arena_str(r->arena, str_trim(given->text)).p;
    } else {
        wrong(r, parser, "row_condition must be SQL (no condition_parser), or in Great Expectations' own form (condition_parser: great_expectations)");
    }
}

/* ---- what every expectation has ---- */

static const struct yaml_node *either(const struct yaml_node *a, const struct yaml_node *b, const char *name) {
    const struct yaml_node *first = yaml_get(a, name), *second = yaml_get(b, name);
    return first && !first->is_null ? first : second && !second->is_null ? second : NULL;
}

static void read_mostly(struct expect_reader *r, const struct yaml_node *values, struct expectation *e) {
    const struct yaml_node *node = yaml_get(values, "mostly");
    if (!node || node->is_null) return;
    double share;
    if (node->kind != YAML_TEXT || !text_is_number(node->text) || !str_to_double(node->text, &share) || share < 0 || share > 1) {
        wrong(r, node, "mostly must be a share from 0 to 1");
        return;
    }
    e->mostly = share;
    e->mostly_given = true;
}

static const char *read_notes(struct expect_reader *r, const struct yaml_node *outer, const struct yaml_node *values) {
    const struct yaml_node *meta = either(outer, values, "meta");
    const struct yaml_node *node = either(outer, values, "notes");
    if (!node) node = either(outer, values, "description");
    if (!node && meta && meta->kind == YAML_MAP) node = yaml_get(meta, "notes");
    if (node && node->kind == YAML_MAP) node = yaml_get(node, "content");
    if (!node || node->is_null) return NULL;
    if (node->kind == YAML_TEXT) return node->text.p;
    BUF_SCOPE(lines);
    for (size_t i = 0; node->kind == YAML_LIST && i < node->n; i++) {
        if (node->items[i]->kind == YAML_TEXT) buf_printf(&lines, "%s" STR_FMT, i ? "\n" : "", STR_ARG(node->items[i]->text));
    }
    return lines.n ? arena_strndup(r->arena, lines.p, lines.n) : NULL;
}

static void read_common(struct expect_reader *r, const struct yaml_node *outer, const struct yaml_node *values, struct expectation *e) {
    const struct yaml_node *severity = either(outer, values, "severity"), *on_fail = either(outer, values, "on_fail"), *meta = either(outer, values, "meta");
    if (!on_fail && meta && meta->kind == YAML_MAP) on_fail = yaml_get(meta, "on_fail");
    int choice = severity ? read_choice(r, "severity", severity, "critical|warning|info") : EXPECT_CRITICAL;
    e->severity = choice < 0 ? EXPECT_CRITICAL : (enum expect_severity)choice;
    choice = on_fail ? read_choice(r, "on_fail", on_fail, "quarantine|fail|warn") : (int)r->suite->on_fail;
    e->on_fail = choice < 0 ? EXPECT_QUARANTINE : (enum expect_on_fail)choice;
    if (e->scope == EXPECT_TABLE && e->on_fail == EXPECT_QUARANTINE) {
        if (on_fail) wrong(r, on_fail, "%s is about the table, no row can be quarantined for it: on_fail must be fail or warn", e->type);
        e->on_fail = EXPECT_WARN;
    }
    read_mostly(r, values, e);
    if (e->mostly_given && e->scope == EXPECT_TABLE) wrong(r, yaml_get(values, "mostly"), "%s is about the table: there is no share of rows (mostly)", e->type);
    read_condition(r, values, e);
    e->notes = read_notes(r, outer, values);
}

/* ---- labels ---- */

static void show_value(const struct yaml_node *node, struct buf *out, int depth) {
    if (node->kind == YAML_TEXT) {
        struct str shown = str_head(node->raw, 80);
        while (shown.n && shown.n < node->raw.n && ((unsigned char)node->raw.p[shown.n] & 0xC0) == 0x80) shown.n--; /* whole characters */
        for (size_t i = 0; i < shown.n; i++) buf_char(out, (unsigned char)shown.p[i] < 0x20 ? ' ' : shown.p[i]);
        buf_text(out, shown.n < node->raw.n ? "…" : "");
        return;
    }
    size_t shown = node->n < 8 ? node->n : 8;
    buf_char(out, node->kind == YAML_LIST ? '[' : '{');
    for (size_t i = 0; i < shown && depth < 4; i++) {
        buf_text(out, i ? ", " : "");
        if (node->kind == YAML_MAP) buf_printf(out, STR_FMT ": ", STR_ARG(node->pairs[i].key));
        show_value(node->kind == YAML_MAP ? node->pairs[i].value : node->items[i], out, depth + 1);
    }
    buf_text(out, shown < node->n ? ", …" : "");
    buf_char(out, node->kind == YAML_LIST ? ']' : '}');
}

/* The first line of notes. */
static void put_line(const char *text, struct buf *out) {
    for (size_t i = 0; text[i] && text[i] != '\n'; i++) {
        if (i >= 200 && ((unsigned char)text[i] & 0xC0) != 0x80) return; /* whole characters */
        buf_char(out, (unsigned char)text[i] < 0x20 ? ' ' : text[i]);
    }
}

/* "type(quantity, min_value: 1)", of a query with notes "type(those)"; told from others alike by a number. */
static const char *make_label(struct expect_reader *r, const struct expectation *e) {
    BUF_SCOPE(label);
    buf_printf(&label, "%s(", e->type);
    bool any = false, told = e->notes && yaml_get(e->values, "unexpected_rows_query");
    if (told) put_line(e->notes, &label);
    for (size_t i = 0; i < e->values->n && !told; i++) {
        const struct yaml_pair *pair = &e->values->pairs[i];
        if (NAMED(common_names, pair->key) && !str_is(pair->key, "row_condition")) continue;
        if (NAMED(ignored_names, pair->key) || pair->value->is_null) continue;
        buf_text(&label, any ? ", " : "");
        if (!str_is(pair->key, "column")) buf_printf(&label, STR_FMT ": ", STR_ARG(pair->key));
        show_value(pair->value, &label, 0);
        any = true;
    }
    buf_char(&label, ')');
    size_t plain = label.n;
    for (int again = 2; map_get(r->labels, buf_view(&label)); again++) {
        label.n = plain;
        buf_printf(&label, " #%d", again);
    }
    map_put(r->labels, buf_view(&label), r->labels);
    return arena_strndup(r->arena, label.p, label.n);
}

static const char *columns_of(struct expect_reader *r, const struct yaml_node *values) {
    const struct yaml_node *one = yaml_get(values, "column"), *list = yaml_get(values, "column_list"), *a = yaml_get(values, "column_A"),
                           *b = yaml_get(values, "column_B");
    if (one && one->kind == YAML_TEXT) return one->text.p;
    if (a && b && a->kind == YAML_TEXT && b->kind == YAML_TEXT) return arena_printf(r->arena, STR_FMT ", " STR_FMT, STR_ARG(a->text), STR_ARG(b->text));
    BUF_SCOPE(names);
    for (size_t i = 0; list && list->kind == YAML_LIST && i < list->n; i++) buf_printf(&names, "%s" STR_FMT, i ? ", " : "", STR_ARG(list->items[i]->text));
    return names.n ? arena_strndup(r->arena, names.p, names.n) : "";
}

static void write_json_value(struct json_writer *w, const struct yaml_node *node) {
    if (node->kind == YAML_TEXT) {
        if (node->is_null)
            json_null(w);
        else if (text_is_number(node->raw) && json_validate(node->raw, 2, NULL) == OK)
            json_raw(w, node->raw);
        else
            json_str(w, node->raw);
        return;
    }
    if (node->kind == YAML_MAP)
        json_begin_object(w);
    else
        json_begin_array(w);
    for (size_t i = 0; i < node->n; i++) {
        ARENA_SCOPE(scratch);
        if (node->kind == YAML_MAP) json_name(w, arena_strndup(scratch, node->pairs[i].key.p, node->pairs[i].key.n));
        write_json_value(w, node->kind == YAML_MAP ? node->pairs[i].value : node->items[i]);
    }
    if (node->kind == YAML_MAP)
        json_end_object(w);
    else
        json_end_array(w);
}

static const char *arguments_json(struct expect_reader *r, const struct yaml_node *values) {
    BUF_SCOPE(out);
    struct json_writer w = json_write_to(&out);
    json_begin_object(&w);
    for (size_t i = 0; i < values->n; i++) {
        if (NAMED(common_names, values->pairs[i].key) || NAMED(ignored_names, values->pairs[i].key)) continue;
        json_name(&w, arena_strndup(r->arena, values->pairs[i].key.p, values->pairs[i].key.n));
        write_json_value(&w, values->pairs[i].value);
    }
    json_end_object(&w);
    return arena_strndup(r->arena, out.p, out.n);
}

/* ---- entries ---- */

/* `outer` is the entry in Great Expectations' form (severity, meta stand there), NULL in ours. */
static void add(struct expect_reader *r, struct str type, const struct yaml_node *place, const struct yaml_node *values, const struct yaml_node *outer) {
    const struct expectation_kind *kind = expectation_kind_find(type);
    if (!kind) {
        wrong(r, place, "there is no expectation \"" STR_FMT "\"%s", STR_ARG(str_head(type, 100)), suggest_type(r, type));
        return;
    }
    if (values->kind != YAML_MAP) {
        wrong(r, values, "the arguments of %s must be a map", kind->type);
        return;
    }
    size_t errors = r->problems->errors;
    struct expectation *e = &r->list[r->n];
    *e = (struct expectation){
        .kind = kind, .type = kind->type, .scope = kind->scope, .mostly = 1, .line = place->line, .column_at = place->column, .values = values};
    (void)check_arguments(r, kind, place, values);
    read_common(r, outer, values, e);
    if (r->problems->errors > errors) return;
    e->column = columns_of(r, values);
    e->arguments = arguments_json(r, values);
    e->label = make_label(r, e);
    r->n++;
}

static const struct yaml_node *empty_map(struct expect_reader *r, const struct yaml_node *like) {
    struct yaml_node *node = arena_new_one(r->arena, struct yaml_node);
    *node = (struct yaml_node){.kind = YAML_MAP, .line = like->line, .column = like->column};
    return node;
}

static void read_entry(struct expect_reader *r, const struct yaml_node *entry) {
    if (entry->kind == YAML_TEXT && !entry->is_null) {
        add(r, entry->text, entry, empty_map(r, entry), NULL);
        return;
    }
    if (entry->kind != YAML_MAP || !entry->n) {
        wrong(r, entry, "an expectation is written as \"expect_…: {column: …}\"");
        return;
    }
    const struct yaml_node *type = yaml_get(entry, "type") ? yaml_get(entry, "type") : yaml_get(entry, "expectation_type");
    if (type && type->kind == YAML_TEXT) {
        const struct yaml_node *kwargs = yaml_get(entry, "kwargs");
        static const char *const known[] = {"type", "expectation_type", "kwargs"};
        for (size_t i = 0; i < entry->n; i++) {
            const struct yaml_pair *pair = &entry->pairs[i];
            if (NAMED(known, pair->key) || NAMED(common_names, pair->key) || NAMED(ignored_names, pair->key) || str_is(pair->key, "expectation_context"))
                continue;
            config_problem_add(r->problems, false, pair->line, pair->column, "unknown key \"" STR_FMT "\"; arguments stand in kwargs", STR_ARG(pair->key));
        }
        add(r, type->text, type, kwargs && !kwargs->is_null ? kwargs : empty_map(r, type), entry);
    } else if (entry->n == 1) {
        const struct yaml_pair *pair = &entry->pairs[0];
        struct yaml_node *place = arena_new_one(r->arena, struct yaml_node);
        *place = (struct yaml_node){.kind = YAML_TEXT, .line = pair->line, .column = pair->column};
        add(r, pair->key, place, pair->value->is_null ? empty_map(r, pair->value) : pair->value, NULL);
    } else {
        wrong(r, entry, "an expectation is one key, its name, with a map of arguments");
    }
}

/* ---- the file ---- */

static const char *const root_names[] = {"table", "on_fail", "expectations", "description", "notes", "meta", "name", "expectation_suite_name", "id",
    "ge_cloud_id", "data_asset_type", "suite_parameters", "evaluation_parameters"};

static void check_root(struct expect_reader *r, const struct yaml_node *root, const char *table) {
    for (size_t i = 0; i < root->n; i++) {
        const struct yaml_pair *pair = &root->pairs[i];
        if (NAMED(root_names, pair->key)) continue;
        char *given = arena_strndup(r->arena, pair->key.p, pair->key.n);
        config_problem_add(r->problems, false, pair->line, pair->column, "unknown key \"%s\"%s", given,
            expect_suggest(r->arena, given, root_names, sizeof root_names / sizeof *root_names));
    }
    const struct yaml_node *given = yaml_get(root, "table"), *on_fail = yaml_get(root, "on_fail"), *meta = yaml_get(root, "meta");
    if (given && (given->kind != YAML_TEXT || !str_is(given->text, table))) {
        wrong(r, given, "the file's name says %s, table: says %s", table, given->kind == YAML_TEXT ? given->text.p : "something else");
    }
    if (!on_fail && meta && meta->kind == YAML_MAP) on_fail = yaml_get(meta, "on_fail");
    int choice = on_fail && !on_fail->is_null ? read_choice(r, "on_fail", on_fail, "quarantine|fail|warn") : EXPECT_QUARANTINE;
    r->suite->on_fail = choice < 0 ? EXPECT_QUARANTINE : (enum expect_on_fail)choice;
}

static void read_list(struct expect_reader *r, const struct yaml_node *root) {
    const struct yaml_node *list = yaml_get(root, "expectations");
    if (!list || list->is_null) {
        config_problem_add(r->problems, true, root->line, root->column, "no expectations");
        return;
    }
    if (!is_list(r, "expectations", list, 0, EXPECT_SUITE_MAX)) return;
    r->list = arena_new_array(r->arena, struct expectation, list->n + 1);
    for (size_t i = 0; i < list->n; i++) read_entry(r, list->items[i]);
}

/* Tables and queries that expectations name. */
static void collect_tables(struct expect_reader *r) {
    const char **tables = arena_new_array(r->arena, const char *, r->n + 1), **queries = arena_new_array(r->arena, const char *, r->n + 1);
    size_t tables_n = 0, queries_n = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct yaml_node *query = argument(&r->list[i], "unexpected_rows_query"), *table = argument(&r->list[i], "table");
        if (!table) table = argument(&r->list[i], "other_table_name");
        if (query) queries[queries_n++] = query->text.p;
        bool known = !table;
        for (size_t k = 0; !known && k < tables_n; k++) known = str_is(table->text, tables[k]);
        if (!known) tables[tables_n++] = table->text.p;
    }
    r->suite->tables = tables;
    r->suite->tables_n = tables_n;
    r->suite->queries = queries;
    r->suite->queries_n = queries_n;
}

enum status expect_parse(
    struct arena *arena, const char *file, const char *table, struct str text, struct expect_suite **out, struct config_problems *problems, struct err *err) {
    must(arena && file && table && out && problems);
    static const struct config_environment nothing = {0};
    size_t errors = problems->errors;
    if (text.n > EXPECT_FILE_BYTES_MAX) {
        config_problem_add(problems, false, 1, 1, "the file has %zu bytes, at most %u", text.n, EXPECT_FILE_BYTES_MAX);
        return err_set(err, E_CONFIG, "%s: the file is too large", file);
    }
    struct expect_suite *suite = arena_new_one(arena, struct expect_suite);
    *suite = (struct expect_suite){.table = arena_strdup(arena, table), .file = arena_strdup(arena, file)};
    struct expect_reader r = {.arena = arena, .problems = problems, .suite = suite, .labels = map_new()};
    const struct yaml_node *root = yaml_read(arena, text, &nothing, problems);
    if (root && root->kind != YAML_MAP) wrong(&r, root, "the file must be a map with table, on_fail and expectations");
    if (root && root->kind == YAML_MAP) {
        check_root(&r, root, table);
        read_list(&r, root);
        collect_tables(&r);
    }
    map_free(&r.labels);
    if (problems->errors > errors || !root) return err_set(err, E_CONFIG, "%s: %zu errors", file, problems->errors - errors);
    suite->list = r.list;
    suite->n = r.n;
    *out = suite;
    return OK;
}
