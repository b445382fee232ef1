/* What the schedule drives: the flow room, SQL of steps, and what tells whether a table got something new. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/metrics.h"
#include "flow/flow.h"
#include "serve/flow_glue.h"

static struct flow *flow_of(struct node *node) { return node_flow_handle(node); }

static size_t driver_models(void *context, const struct flow_model *const **out) { return flow_models(flow_of(context), out); }

static enum status driver_due(void *context, struct arena *arena, const char *const **names, size_t *n, struct err *err) {
    return flow_due(flow_of(context), arena, names, n, err);
}

static enum status driver_run(
    void *context, struct arena *arena, const struct flow_run_options *options, struct flow_model_result **out, size_t *n, struct err *err) {
    struct node *node = context;
    bool fit;
    enum status status = flow_references_fit(flow_of(node), options->models, options->n, &fit, err);
    if (status == OK && !fit) node_flow_load_again(node); /* where that fails the reference's run says so */
    if (status == OK) status = flow_run(flow_of(node), arena, options, out, n, err);
    bool wrote = status != OK; /* some of the models may have been written before it ended */
    for (size_t i = 0; status == OK && i < *n; i++) wrote = wrote || (*out)[i].version > 0;
    if (wrote) node_flow_changed(node);
    size_t published;
    if (wrote && node->options.command && node_flow_emits(node)) (void)outbox_publish(node, &published, NULL); /* what is left goes out with the next server */
    if (wrote && node->options.command) (void)lake_publish_due(node->lake, NULL);
    return status;
}

/* ---- SQL of steps: as a user's, read only ---- */

/* The first value of a JSON object. */
static bool first_value(struct str object, struct str *out) {
    bool quoted = false;
    for (size_t i = 1; i < object.n; i++) { /* behind the brace */
        if (quoted && object.p[i] == '\\') {
            i++;
        } else if (object.p[i] == '"') {
            quoted = !quoted;
        } else if (!quoted && object.p[i] == ':') {
            *out = str_trim(str_from(object, i + 1));
            return out->n > 0;
        }
    }
    return false;
}

static bool is_true(struct str value) {
    double number;
    size_t n = 0;
    while (n < value.n && value.p[n] != ',' && value.p[n] != '}') n++;
    struct str word = str_trim(str_head(value, n));
    if (str_is(word, "null") || str_is(word, "false") || str_is(word, "\"\"") || str_is(word, "\"false\"")) return false;
    return !str_to_double(word, &number) || number != 0;
}

static enum status read_first_row(struct engine_call *call, struct buf *line, bool (*cancelled)(void *), void *cancelled_context, struct err *err) {
    char bytes[4096];
    size_t got = 1;
    line->limit = 1 << 20;
    while (got > 0 && !(line->n && memchr(line->p, '\n', line->n))) {
        if (cancelled && cancelled(cancelled_context)) return err_set(err, E_CANCELLED, "cancelled");
        if (!host_wait_readable(engine_call_fd(call), 100)) continue;
        enum status status = engine_call_read(call, bytes, sizeof bytes, &got, err);
        if (status != OK) return status;
        buf_put(line, bytes, got);
        if (line->failed) return err_set(err, E_LIMIT, "the first row is larger than 1 MiB");
    }
    return OK;
}

static enum status driver_ask(
    void *context, const char *sql, int64_t time_ms, bool (*cancelled)(void *), void *cancelled_context, bool *rows, bool *truth, struct err *err) {
    struct node *node = context;
    struct lake_pin *pin;
    struct engine_call *call = NULL;
    BUF_SCOPE(line);
    enum status status = lake_pin(node->lake, &pin, err);
    if (status != OK) return status;
    struct engine_query query = {.sql = str_of(sql),
        .format = RESULT_NDJSON,
        .view = lake_pin_view(pin),
        .time_ms = time_ms,
        .cancelled = cancelled,
        .cancelled_context = cancelled_context};
    status = engine_query_start(node->engine, &query, &call, err);
    if (status == OK) status = read_first_row(call, &line, cancelled, cancelled_context, err);
    if (call) engine_call_end(&call);
    lake_unpin(&pin);
    if (status != OK) return status;
    struct str value, rest = buf_view(&line), row = str_trim(str_cut(&rest, '\n'));
    *rows = row.n > 0;
    *truth = *rows && first_value(row, &value) && is_true(value);
    return OK;
}

/* ---- what moved ---- */

static enum status mark_of_stream(struct node *node, struct str name, uint64_t *out, struct err *err) {
    ARENA_SCOPE(arena);
    struct ledger_stream stream;
    struct stream_state state;
    enum status status = node_stream(node, arena, name, &stream, err);
    if (status == OK) status = stream_state(node->log, arena, stream.number, &state, err);
    if (status != OK) return status;
    uint64_t sum = 0;
    for (size_t i = 0; i < state.partitions_n; i++) sum += state.partitions[i].end_offset;
    *out = sum;
    return OK;
}

static enum status mark_of_landing(struct node *node, const char *table, bool *found, uint64_t *out, struct err *err) {
    ARENA_SCOPE(arena);
    const struct config *config = node_config(node);
    struct account *list;
    size_t n;
    *out = 0;
    for (size_t i = 0; i < config->sources_n; i++) {
        const struct config_source *source = &config->sources[i];
        if (!source->table || strcmp(source->table, table) != 0) continue;
        *found = true;
        enum status status = ledger_account_list(node->ledger, arena, "file", source->name, &list, &n, err);
        if (status != OK) return status;
        for (size_t k = 0; k < n; k++) *out += str_is(STR("landed"), list[k].field) ? (uint64_t)list[k].n : 0;
    }
    return OK;
}

/* The version of its last change, asked only when some model wrote something since. */
static enum status mark_of_model(struct node *node, const char *table, uint64_t *out, struct err *err) {
    BUF_SCOPE(sql);
    BUF_SCOPE(rows);
    struct str value;
    buf_text(&sql, "SELECT coalesce(max(version), 0) AS v FROM cupel.changes WHERE table_name = ");
    sql_quote_text(&sql, str_of(table));
    enum status status = node_rows(node, buf_cstr(&sql), &rows, err);
    if (status != OK) return status;
    bool read = json_raw_at(str_trim(buf_view(&rows)), STR("0.v"), &value) && str_to_u64(value, out);
    return read ? OK : err_set(err, E_INTERNAL, "the version of %s is not readable", table);
}

static enum status driver_mark(void *context, const char *table, uint64_t *out, struct err *err) {
    struct node *node = context;
    struct str name = str_of(table);
    bool landing = false;
    if (!str_starts(name, STR("bronze."))) return node_flow_mark(node, table, mark_of_model, out, err);
    enum status status = mark_of_landing(node, table, &landing, out, err);
    return status != OK || landing ? status : mark_of_stream(node, str_from(name, 7), out, err);
}

/* ---- freshness ---- */

static struct metric metric_newest = {.name = "cupel_model_newest_event_seconds",
    .help = "Time of the newest event among the valid input rows of a table, in seconds since 1970.",
    .kind = METRIC_GAUGE,
    .labels = "model"};
static struct metric metric_received = {.name = "cupel_model_newest_received_seconds",
    .help = "Receipt of the newest input row of a table, in seconds since 1970.",
    .kind = METRIC_GAUGE,
    .labels = "model"};

void node_flow_declare_metrics(void) {
    metric_register(&metric_newest);
    metric_register(&metric_received);
}

static void set_gauge(struct metric *metric, const char *model, struct str row, const char *member) {
    struct str raw;
    double seconds;
    if (json_raw_at(row, str_of(member), &raw) && str_to_double(raw, &seconds)) series_set(metric_series(metric, model), (int64_t)seconds);
}

/* Only after models wrote something. */
static void driver_gauges(void *context) {
    struct node *node = context;
    ARENA_SCOPE(arena);
    BUF_SCOPE(text);
    struct str *rows = NULL, raw;
    size_t n = 0;
    uint64_t changes = node_flow_changes(node);
    const struct flow_model *const *models;
    if (node->flow_gauges_at == changes || flow_models(flow_of(node), &models) == 0) return;
    if (node_rows(node, "SELECT \"table\" AS t, CAST(epoch(as_of_event) AS BIGINT) AS e, CAST(epoch(as_of_received) AS BIGINT) AS r FROM cupel.freshness",
            &text, NULL) != OK)
        return;
    node->flow_gauges_at = changes;
    if (json_split_array(str_trim(buf_view(&text)), 100000, &rows, &n, NULL) != OK) return;
    for (size_t i = 0; i < n; i++) {
        if (!json_raw_at(rows[i], STR("t"), &raw) || raw.n < 2) continue;
        const char *model = arena_strndup(arena, raw.p + 1, raw.n - 2);
        set_gauge(&metric_newest, model, rows[i], "e");
        set_gauge(&metric_received, model, rows[i], "r");
    }
    free(rows);
}

/* ---- history ---- */

static enum status driver_prune(void *context, int64_t before_ms, struct err *err) {
    struct node *node = context;
    const struct flow_model *const *models;
    if (flow_models(flow_of(node), &models) == 0) return OK; /* no engine for nothing */
    BUF_SCOPE(sql);
    buf_printf(&sql, "DELETE FROM warehouse.cupel.runs WHERE started_at < make_timestamptz(%lld)", (long long)before_ms * 1000);
    return node_warehouse_run(node, buf_cstr(&sql), NULL, err);
}

struct schedule_driver node_flow_driver(struct node *node) {
    return (struct schedule_driver){.context = node,
        .models = driver_models,
        .due = driver_due,
        .run = driver_run,
        .ask = driver_ask,
        .mark = driver_mark,
        .gauges = driver_gauges,
        .prune = driver_prune};
}
