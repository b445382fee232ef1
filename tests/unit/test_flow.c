/* Models: files, graph, binding, and runs of every strategy with a real engine. */
#include <sys/stat.h>

#include "flow_fixture.h"

#include "host/thread.h"

/* ---- files and graph ---- */

static void expect_problems(struct fixture *f, const char *const *wanted) {
    char *text = load(f);
    for (; *wanted; wanted++) {
        if (!strstr(text, *wanted)) fail_msg("expected \"%s\" in:\n%s", *wanted, text);
    }
}

static void all_problems_in_one_run(void **state) {
    struct fixture *f = *state;
    (void)add_stream(f, "web", 1);
    put_file(f, "models/silver/a.sql", "/* cupel\nkind: streem\nkey: [x]\n*/\nSELECT 1\n");
    put_file(f, "models/silver/b.sql", "/* cupel\nkind: stream\nkeys: [x]\n*/\nSELECT 1 AS x FROM bronze.web\n");
    put_file(f, "models/silver/c.sql", "SELECT 1\n");
    put_file(f, "models/silver/d.sql", "/* cupel\nkind: full\n*/\nSELECT *\nFROM bronze.wep JOIN\n  silver.nothing USING (x)\n");
    put_file(f, "models/silver/e.sql", "/* cupel\nkind: full\nbucket: day\n*/\nSELECT 1 AS one FROM bronze.web\n");
    put_file(f, "models/silver/f.sql", "/* cupel\nkind: full\n*/\nSELECT payload,\n   pylaod FROM bronze.web\n");
    put_file(f, "models/silver/g.sql", "/* cupel\nkind: full\n*/\nSELEC 1\n");
    put_file(f, "models/silver/h.sql", "/* cupel\nkind: stream\nkey: [id]\ntime: tim\n*/\nSELECT _event_id AS id, _event_id, _received_at FROM bronze.web\n");
    put_file(f, "models/silver/i.sql", "/* cupel\nkind: incremental\n*/\nSELECT 1 FROM bronze.web\n");
    open_flow(f);
    expect_problems(f,
        (const char *const[]){"models/silver/a.sql:2:7: kind is one of stream|incremental|full|view, not \"streem\" (did you mean \"stream\"?)",
            "models/silver/b.sql:3:1: unknown key keys (did you mean \"key\"?)", "models/silver/c.sql:1:1: a model begins with its settings",
            "models/silver/d.sql:5:6: there is no table bronze.wep (did you mean \"bronze.web\"?)", "models/silver/d.sql:6:3: there is no table silver.nothing",
            "models/silver/e.sql:3:1: bucket means nothing in a model of kind full", "models/silver/f.sql:5:4: Referenced column \"pylaod\"",
            "models/silver/g.sql:4:1: syntax error at or near \"SELEC\"", "models/silver/h.sql:4:7: time: the SELECT gives no column tim",
            "models/silver/i.sql:1:1: an incremental model says what it restates", NULL});
}

static void circles_are_told(void **state) {
    struct fixture *f = *state;
    put_file(f, "models/a/one.sql", "/* cupel\nkind: full\n*/\nSELECT * FROM a.two\n");
    put_file(f, "models/a/two.sql", "/* cupel\nkind: full\n*/\nSELECT *\nFROM a.three\n");
    put_file(f, "models/a/three.sql", "/* cupel\nkind: full\n*/\nSELECT * FROM a.one\n");
    put_file(f, "models/a/self.sql", "/* cupel\nkind: full\n*/\nSELECT * FROM a.self\n");
    open_flow(f);
    expect_problems(f,
        (const char *const[]){
            "models read each other in a circle: a.one, which reads a.two, which reads a.three, which reads a.one", "a.self reads itself", NULL});
}

/* What the header says goes into statements: it must not end them, and names must not meet those of other tables. */
static void headers_cannot_speak_for_others(void **state) {
    struct fixture *f = *state;
    (void)add_stream(f, "web", 1);
    put_file(f, "models/a/ends.sql",
        "/* cupel\nkind: stream\nkey: [p]\ndeletes: \"true)); CREATE SCHEMA warehouse.evil; SELECT 'a' AS foo FROM (SELECT 1 WHERE (true\"\n*/\n"
        "SELECT payload AS p, _event_id, _received_at FROM bronze.web");
    put_file(f, "models/a/emits.sql",
        "/* cupel\nkind: stream\nkey: [p]\nemit: {stream: web, columns: {ok: \"coalesce(new.p, ';')\", two: \"1; SELECT 2\", gone: new.q}}\n*/\n"
        "SELECT payload AS p, _event_id, _received_at FROM bronze.web");
    put_file(f, "models/a/lists.sql",
        "/* cupel\nkind: stream\nkey: [p]\nemit: {stream: web, columns: [q]}\n*/\nSELECT payload AS p, _event_id, _received_at FROM bronze.web");
    put_file(f, "models/a/together.sql",
        "/* cupel\nkind: stream\nkey: [p]\ntogether: p\nemit: {stream: alerts, columns: [p]}\n*/\nSELECT payload AS p, _event_id, _received_at FROM "
        "bronze.web");
    put_file(f, "models/a/rows.sql", "/* cupel\nkind: full\n*/\nSELECT 1 AS RowID FROM bronze.web");
    put_file(f, "models/a/b__next.sql", "/* cupel\nkind: full\n*/\nSELECT 1 AS x FROM bronze.web");
    assert_int_equal(mkfifo(below(f, "models/a/pipe.sql"), 0600), 0); /* is no file: reading it would wait for ever */
    put_file(f, "models/memory/b.sql", "/* cupel\nkind: full\n*/\nSELECT 1 AS x FROM bronze.web");
    open_flow(f);
    expect_problems(f,
        (const char *const[]){"models/a/ends.sql:4:16: deletes: syntax error at or near \")\"", "models/a/emits.sql:4:66: emit.columns, two: syntax error",
            "models/a/emits.sql:4:85: emit.columns, gone: Table \"new\" does not have a column named \"q\"",
            "models/a/lists.sql:4:31: emit.columns: the SELECT gives no column q", "models/a/together.sql:1:1: emit pairs an old and a new row",
            "models/a/rows.sql:4:1: RowID is a column of Cupel's own", "models/a/lists.sql:4:16: warning: emit: a.lists is made from the stream web itself",
            "models/a/b__next.sql: names have no __", "models/memory/b.sql: the schema memory is Cupel's own", NULL});
    rows_are(f, "SELECT schema_name FROM duckdb_schemas() WHERE schema_name = 'evil'", "[]");
}

static char *inputs_of(struct fixture *f, const char *model) {
    const struct flow_model *m = flow_find(f->flow, model);
    assert_non_null(m);
    char *text = arena_strdup(f->arena, "");
    for (size_t i = 0; i < m->inputs_n; i++) text = arena_printf(f->arena, "%s%s%s%s", text, i ? " " : "", m->inputs[i].full, m->inputs[i].lookup ? "?" : "");
    return text;
}

static void the_graph_is_the_syntax_trees(void **state) {
    struct fixture *f = *state;
    (void)add_stream(f, "web", 1);
    (void)add_stream(f, "crm", 1);
    put_file(f, "reference/stores.csv", "store_id,name\n1,a\n2,b\n");
    put_file(f, "models/s/a.sql", "/* cupel\nkind: full\n*/\nSELECT 1 AS x, 2 AS t, 'a' AS c FROM bronze.web");
    put_file(f, "models/s/b.sql", "/* cupel\nkind: full\n*/\nSELECT 1 AS x, 2 AS t, 3 AS u FROM bronze.crm");
    put_file(f, "models/q/using_.sql", "/* cupel\nkind: full\n*/\nSELECT x, a.t, u FROM s.a JOIN s.b USING (x)");
    put_file(f, "models/q/natural_.sql", "/* cupel\nkind: full\n*/\nSELECT * FROM s.a NATURAL JOIN s.b");
    put_file(f, "models/q/asof_.sql", "/* cupel\nkind: full\n*/\nSELECT a.x FROM s.a ASOF JOIN s.b ON a.x = b.x AND a.t >= b.t");
    put_file(f, "models/q/pivot_.sql", "/* cupel\nkind: full\n*/\nFROM (SELECT x, c FROM s.a) PIVOT (count(x) FOR c IN ('a', 'b'))");
    put_file(f, "models/q/pivots.sql", "/* cupel\nkind: full\n*/\nPIVOT s.a ON c IN ('a', 'b') USING count(x) -- bronze.crm in words\n");
    put_file(f, "models/q/columns_.sql", "/* cupel\nkind: full\n*/\nSELECT COLUMNS('x|t') FROM s.a");
    put_file(f, "models/q/shadow.sql",
        "/* cupel\nkind: full\n*/\nWITH b AS (SELECT * FROM s.a), c AS (SELECT * FROM b) SELECT c.* FROM c, LATERAL (SELECT store_id FROM ref.stores WHERE "
        "store_id = c.x)");
    put_file(f, "models/q/deep.sql", "/* cupel\nkind: full\n*/\nSELECT (SELECT max(x) FROM s.a) AS m FROM S.B WHERE EXISTS (FROM \"bronze\".web)");
    put_file(f, "models/q/recursive_.sql",
        "/* cupel\nkind: full\n*/\nWITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT r.x + 1 FROM r JOIN s.a USING (x) WHERE r.x < 3) SELECT * FROM r");
    put_file(f, "models/q/seen.sql", "/* cupel\nkind: view\n*/\nSELECT x FROM s.a JOIN ref.stores ON store_id = x");
    put_file(f, "models/q/over_view.sql", "/* cupel\nkind: full\n*/\nSELECT * FROM q.seen UNION ALL SELECT x FROM s.b");
    put_file(f, "models/q/said.sql", "/* cupel\nkind: full\ndepends_on: [s.b]\n*/\nSELECT * FROM range(3)");
    put_file(f, "models/q/macros.sql", "/* cupel\nkind: full\n*/\nSELECT null_if_blank(c) AS c FROM (SELECT clean_text(c) AS c FROM s.a)");
    open_well(f);
    assert_string_equal(inputs_of(f, "q.using_"), "s.a s.b");
    assert_string_equal(inputs_of(f, "q.natural_"), "s.a s.b");
    assert_string_equal(inputs_of(f, "q.asof_"), "s.a s.b");
    assert_string_equal(inputs_of(f, "q.pivot_"), "s.a");
    assert_string_equal(inputs_of(f, "q.pivots"), "s.a");
    assert_string_equal(inputs_of(f, "q.columns_"), "s.a");
    assert_string_equal(inputs_of(f, "q.shadow"), "s.a ref.stores?");
    assert_string_equal(inputs_of(f, "q.deep"), "s.a s.b bronze.web");
    assert_string_equal(inputs_of(f, "q.recursive_"), "s.a");
    assert_string_equal(inputs_of(f, "q.over_view"), "q.seen s.a ref.stores? s.b");
    assert_string_equal(inputs_of(f, "q.said"), "s.b");
    assert_string_equal(inputs_of(f, "q.macros"), "s.a");
    const struct flow_model *const *models;
    size_t n = flow_models(f->flow, &models);
    assert_string_equal(models[0]->full, "ref.stores");
    for (size_t i = 0; i < n; i++) assert_true(models[i]->bound);
}

static void macros_are_part_of_the_sql(void **state) {
    (void)state;
    assert_true(macros_used(STR("SELECT upper(x) FROM a.b")) == 0);
    uint64_t one = macros_used(STR("SELECT Parse_Integer (x)")), two = macros_used(STR("SELECT category_text(x)"));
    assert_true(one && two && one != two);
    assert_true(macros_used(STR("SELECT my_parse_integer(x), parse_integer FROM a.b")) == 0);
    assert_true(macros_used(STR("SELECT parse_integer(1) + parse_integer(2)")) == one);
}

static void streams_may_not_join(void **state) {
    struct fixture *f = *state;
    (void)add_stream(f, "web", 1);
    (void)add_stream(f, "crm", 1);
    put_file(f, "models/s/a.sql", "/* cupel\nkind: stream\n*/\nSELECT w.payload FROM bronze.web w JOIN bronze.crm c ON w._key = c._key");
    put_file(f, "models/s/b.sql", "/* cupel\nkind: stream\n*/\nWITH c AS (FROM bronze.crm) SELECT payload FROM bronze.web WHERE _key IN (SELECT _key FROM c)");
    put_file(f, "models/s/good.sql", "/* cupel\nkind: stream\n*/\nSELECT payload FROM bronze.web UNION ALL SELECT payload FROM bronze.crm");
    open_flow(f);
    char *text = load(f);
    assert_non_null(strstr(text, "models/s/a.sql:4:41: a stream model sees each input's new rows alone"));
    assert_non_null(strstr(text, "models/s/b.sql:4:92: a stream model cannot look at c in a subquery"));
    assert_null(strstr(text, "good"));
}

/* ---- runs ---- */

#define HEADER_WEB \
    "/* cupel\nkind: stream\nkey: [id]\ntime: ts\ndeletes: \"op = 'delete'\"\n*/\n" \
    "SELECT payload->>'$.id' AS id, CAST(payload->>'$.at' AS TIMESTAMPTZ) AS ts, CAST(payload->>'$.v' AS BIGINT) AS v, payload->>'$.op' AS op, _received_at, " \
    "_event_id FROM bronze.web"

static uint16_t add_web(struct fixture *f, uint16_t partitions) {
    put_file(f, "models/silver/web.sql", HEADER_WEB);
    return add_stream(f, "web", partitions);
}

static void a_stream_keeps_the_newest(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 2);
    open_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    append_one(f, web, "{\"id\":\"b\",\"at\":\"2026-01-01T11:00:00Z\",\"v\":2}");
    struct flow_model_result *r = run_all(f, &n);
    assert_int_equal(r[0].status, FLOW_DONE);
    assert_string_equal(r[0].strategy, "rebuild");
    rows_are(f, "SELECT id, v FROM warehouse.silver.web ORDER BY id", "[{\"id\":\"a\",\"v\":1},{\"id\":\"b\",\"v\":2}]");
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":3}");
    append_one(f, web, "{\"id\":\"b\",\"op\":\"delete\"}");
    append_one(f, web, "{\"id\":\"c\",\"at\":\"2026-01-01T12:00:00Z\",\"v\":4}");
    r = run_all(f, &n);
    assert_string_equal(r[0].strategy, "stream");
    assert_int_equal(r[0].rows_in, 3);
    assert_int_equal(r[0].rows_in, r[0].rows_out + r[0].superseded + r[0].filtered + r[0].quarantined);
    rows_are(f, "SELECT id, v FROM warehouse.silver.web ORDER BY id", "[{\"id\":\"a\",\"v\":3},{\"id\":\"c\",\"v\":4}]");
    verify_all(f);
    r = run_all(f, &n);
    assert_int_equal(r[0].inserted + r[0].deleted, 0);
    r = run_with(f, (struct flow_run_options){.full_refresh = true}, &n);
    assert_null(r[0].error);
    rows_are(f, "SELECT id, v FROM warehouse.silver.web ORDER BY id", "[{\"id\":\"a\",\"v\":3},{\"id\":\"c\",\"v\":4}]");
    verify_all(f);
    const char *const *due;
    ok(flow_due(f->flow, f->arena, &due, &n, &f->err));
    assert_int_equal(n, 0);
    append_one(f, web, "{\"id\":\"d\",\"v\":5}");
    ok(flow_due(f->flow, f->arena, &due, &n, &f->err));
    assert_int_equal(n, 1);
}

static size_t due_now(struct fixture *f) {
    const char *const *due;
    size_t n;
    ok(flow_due(f->flow, f->arena, &due, &n, &f->err));
    return n;
}

/* A check of the table, or a run over old events, looks at the lake too, but takes nothing of what is new. */
static void what_was_only_looked_at_stays_due(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 1);
    struct flow_options without_log = {.host = &f->host, .dir = f->dir, .ledger = f->ledger, .engine = f->engine, .lake = f->lake};
    ok(flow_open(&without_log, &f->flow, &f->err)); /* as for landing tables: only the lake's version tells */
    load_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"v\":1}");
    ok(lake_flush(f->lake, "web", &f->err));
    (void)run_all(f, &n);
    assert_int_equal(due_now(f), 0);
    append_one(f, web, "{\"id\":\"b\",\"v\":2}");
    ok(lake_flush(f->lake, "web", &f->err));
    assert_int_equal(due_now(f), 1);
    verify_all(f);
    assert_int_equal(due_now(f), 1);
    (void)run_with(f, (struct flow_run_options){.from_us = 1, .to_us = 2}, &n);
    assert_int_equal(due_now(f), 1);
    (void)run_all(f, &n);
    assert_int_equal(due_now(f), 0);
    rows_are(f, "SELECT count(*) AS n FROM warehouse.silver.web", "[{\"n\":2}]");
}

/* A table that somebody or something else has changed: the rebuild finds each difference, also one that leaves the number of rows as it was, and
 * nothing where there is none. */
static void mend(struct fixture *f, const char *damage, const char *model, int inserted, int deleted) {
    size_t n;
    if (damage) (void)rows_of(f, damage);
    struct flow_model_result *r = run_with(f, (struct flow_run_options){.full_refresh = true}, &n);
    for (size_t i = 0; i < n; i++) {
        if (r[i].error) fail_msg("%s: %s", r[i].model, r[i].error);
        bool damaged = model && strcmp(r[i].model, model) == 0;
        if (r[i].inserted != (damaged ? inserted : 0) || r[i].deleted != (damaged ? deleted : 0))
            fail_msg("%s after %s: +%lld -%lld", r[i].model, damage ? damage : "nothing", (long long)r[i].inserted, (long long)r[i].deleted);
    }
    const struct flow_model_result *web = result_of(r, n, "silver.web");
    assert_int_equal(web->rows_in, 6);
    assert_int_equal(web->rows_out, 3);
    assert_int_equal(web->superseded, 3);
    rows_are(f, "SELECT id, v FROM warehouse.silver.web ORDER BY id", "[{\"id\":\"a\",\"v\":2},{\"id\":\"b\",\"v\":4},{\"id\":\"c\",\"v\":3}]");
    rows_are(f, "SELECT odd FROM warehouse.gold.odd ORDER BY odd", "[{\"odd\":0},{\"odd\":0},{\"odd\":1}]");
    rows_are(f, "SELECT id FROM warehouse.cupel_old.silver__web__gone", "[{\"id\":\"d\"}]");
    verify_all(f);
}

static void mend_all(struct fixture *f) {
    mend(f, NULL, NULL, 0, 0);
    mend(f, "UPDATE warehouse.silver.web SET v = 7 WHERE id = 'a'", "silver.web", 1, 1);
    mend(f, "UPDATE warehouse.silver.web SET op = 'x' WHERE id = 'a'", "silver.web", 1, 1); /* NULL before */
    mend(f, "DELETE FROM warehouse.silver.web WHERE id = 'b'", "silver.web", 1, 0);
    mend(f, "INSERT INTO warehouse.silver.web SELECT * FROM warehouse.silver.web WHERE id = 'b'", "silver.web", 0, 1);
    mend(f, "INSERT INTO warehouse.silver.web SELECT * FROM warehouse.silver.web WHERE id = 'b'; DELETE FROM warehouse.silver.web WHERE id = 'a'", "silver.web",
        1, 1);
    mend(f, "DELETE FROM warehouse.gold.ids WHERE id = 'c'; INSERT INTO warehouse.gold.ids SELECT * FROM warehouse.gold.ids WHERE id = 'a'", "gold.ids", 1, 1);
    mend(f, "TRUNCATE warehouse.gold.odd; INSERT INTO warehouse.gold.odd VALUES (0, 1), (1, 1), (1, 1)", "gold.odd", 1, 1); /* rows that are alike */
    mend(f, "DELETE FROM warehouse.cupel_old.silver__web__gone", NULL, 0, 0);
}

static void a_rebuild_mends_a_table(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_stream(f, "web", 2);
    put_file(f, "models/silver/web.sql", HEADER_WEB);
    put_file(f, "models/gold/ids.sql", "/* cupel\nkind: incremental\nby: [id]\nkey: [id]\n*/\nSELECT id, v * 2 AS v FROM silver.web");
    put_file(f, "models/gold/odd.sql", "/* cupel\nkind: full\nkey: [odd]\n*/\nSELECT v % 2 AS odd FROM silver.web");
    open_flow(f);
    load_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    append_one(f, web, "{\"id\":\"b\",\"at\":\"2026-01-01T11:00:00Z\",\"v\":4}");
    append_one(f, web, "{\"id\":\"d\",\"at\":\"2026-01-01T11:00:00Z\",\"v\":9}");
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":2}");
    append_one(f, web, "{\"id\":\"d\",\"op\":\"delete\"}");
    append_one(f, web, "{\"id\":\"c\",\"at\":\"2026-01-01T12:00:00Z\",\"v\":3}");
    (void)run_all(f, &n);
    mend_all(f);
    f->flow->wave_rows = 2;
    mend_all(f);
}

static const char merge_model[] =
    "/* cupel\nkind: incremental\nby: [day]\nmerge: true\nrows: SELECT CAST(ts AS DATE) AS day, v AS total, CAST(1 AS BIGINT) AS n FROM silver.web\n*/\n"
    "SELECT day, CAST(sum(total) AS BIGINT) AS total, CAST(sum(n) AS BIGINT) AS n FROM this.pieces GROUP BY day";
static const char bucket_model[] =
    "/* cupel\nkind: incremental\nbucket: day\ntime: day\n*/\nSELECT CAST(ts AS DATE) AS day, sum(v) AS total FROM silver.web GROUP BY 1";
static const char by_model[] = "/* cupel\nkind: incremental\nby: [id]\nkey: [id]\nemit: {stream: alerts, type: big, columns: [id, v], when: \"new.v > 10 AND "
                               "(old.v IS NULL OR old.v <= 10)\"}\n*/\nSELECT id, v * 2 AS v FROM silver.web";
static const char full_model[] = "/* cupel\nkind: full\n*/\nSELECT count(*) AS n FROM silver.web";

/* Days that are restated by hand say nothing about changes of other days: those are still to come. */
static void a_range_by_hand_leaves_other_changes_to_come(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 1);
    put_file(f, "models/gold/days.sql", bucket_model);
    open_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    (void)run_all(f, &n);
    append_one(f, web, "{\"id\":\"b\",\"at\":\"2026-01-05T10:00:00Z\",\"v\":2}");
    const char *const upstream[] = {"silver.web"}, *const days[] = {"gold.days"};
    (void)run_with(f, (struct flow_run_options){.models = upstream, .n = 1}, &n);
    int64_t first_us = INT64_C(1767225600000000); /* 2026-01-01 */
    struct flow_model_result *r =
        run_with(f, (struct flow_run_options){.models = days, .n = 1, .from_us = first_us, .to_us = first_us + INT64_C(86400000000)}, &n);
    assert_null(r[0].error);
    assert_int_equal(due_now(f), 1);
    (void)run_all(f, &n);
    rows_are(f, "SELECT total FROM warehouse.gold.days ORDER BY day", "[{\"total\":1},{\"total\":2}]");
    verify_all(f);
}

/* Without a key rows are only added: a range read again must not add them to themselves. */
static void a_range_by_hand_adds_nothing_twice(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_stream(f, "web", 1);
    put_file(f, "models/silver/plain.sql", "/* cupel\nkind: stream\n*/\nSELECT payload->>'$.id' AS id, _received_at, _event_id FROM bronze.web");
    put_file(f, "models/silver/second.sql", "/* cupel\nkind: stream\n*/\nSELECT id, _received_at, _event_id FROM silver.plain");
    open_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\"}");
    (void)run_all(f, &n);
    (void)run_with(f, (struct flow_run_options){.from_us = 1, .to_us = INT64_C(4000000000000000)}, &n);
    verify_all(f);
    append_one(f, web, "{\"id\":\"b\"}");
    const char *const upstream[] = {"silver.plain"}, *const second[] = {"silver.second"};
    (void)run_with(f, (struct flow_run_options){.models = upstream, .n = 1}, &n);
    (void)run_with(f, (struct flow_run_options){.models = second, .n = 1, .from_us = 1, .to_us = 2}, &n);
    (void)run_all(f, &n);
    verify_all(f);
    rows_are(f, "SELECT count(*) AS n FROM warehouse.silver.second", "[{\"n\":2}]");
}

/* Each is asked as a run would ask it, and cannot be more than one question. */
static void expectations_are_bound(void **state) {
    struct fixture *f = *state;
    (void)add_stream(f, "web", 1);
    put_file(f, "reference/stores.csv", "store,name\n1,a\n2,b\n");
    put_file(f, "models/silver/web.sql", HEADER_WEB);
    put_file(f, "expectations/silver.web.yaml",
        "table: silver.web\non_fail: warn\nexpectations:\n"
        "  - expect_column_values_to_not_be_null: {column: v, row_condition: \"no_such > 1\"}\n"
        "  - expect_column_values_to_not_be_null: {column: id, row_condition: \"true); CREATE SCHEMA warehouse.evil; SELECT (true\"}\n"
        "  - expect_column_values_to_not_be_null: {column: ts, row_condition: \"v > 1 AND op <> ');'\"}\n"
        "  - unexpected_rows_expectation: {unexpected_rows_query: \"SELECT * FROM {batch} WHERE gone\"}\n"
        "  - unexpected_rows_expectation: {unexpected_rows_query: \"SELECT * FROM {batch}) AS x; CREATE SCHEMA warehouse.evil; SELECT 1 FROM (SELECT 1\"}\n"
        "  - unexpected_rows_expectation: {unexpected_rows_query: \"SELECT * FROM {batch} JOIN ref.stores ON store = v\"}\n"
        "  - expect_column_values_to_exist_in_table: {column: v, table: ref.stores, table_column: nome}\n"
        "  - expect_table_row_count_to_be_between: {min_value: 0}\n");
    open_flow(f);
    expect_problems(f,
        (const char *const[]){"expectations/silver.web.yaml:4:5: expect_column_values_to_not_be_null: Referenced column \"no_such\" not found",
            "expectations/silver.web.yaml:5:5: expect_column_values_to_not_be_null: Only SELECT",
            "expectations/silver.web.yaml:7:5: unexpected_rows_expectation: Referenced column \"gone\" not found",
            "expectations/silver.web.yaml:8:5: unexpected_rows_expectation: ", "expectations/silver.web.yaml:10:5: expect_column_values_to_exist_in_table: ",
            NULL});
    char *text = load(f);
    assert_null(strstr(text, "yaml:6:"));
    assert_null(strstr(text, "yaml:9:"));
    assert_null(strstr(text, "yaml:11:"));
    rows_are(f, "SELECT schema_name FROM duckdb_schemas() WHERE schema_name = 'evil'", "[]");
}

/* One event with a time that no calendar has must not stop the model. */
static void any_time_has_its_bucket(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 1);
    put_file(f, "models/gold/days.sql", bucket_model);
    put_file(f, "models/gold/hours.sql",
        "/* cupel\nkind: incremental\nbucket: hour\ntime: h\n*/\nSELECT date_trunc('hour', ts) AS h, sum(v) AS total FROM silver.web GROUP BY 1");
    open_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    (void)run_all(f, &n);
    append_one(f, web, "{\"id\":\"b\",\"at\":\"20000-01-01T10:00:00Z\",\"v\":2}");
    append_one(f, web, "{\"id\":\"c\",\"at\":\"0044-03-15 (BC)\",\"v\":3}");
    append_one(f, web, "{\"id\":\"d\",\"at\":\"290000-03-15\",\"v\":4}");
    append_one(f, web, "{\"id\":\"e\",\"at\":\"infinity\",\"v\":5}");
    append_one(f, web, "{\"id\":\"f\",\"at\":\"2026-01-01T11:00:00Z\",\"v\":6}");
    (void)run_all(f, &n);
    verify_all(f);
    rows_are(f, "SELECT total FROM warehouse.gold.days WHERE day = DATE '2026-01-01'", "[{\"total\":7}]");
}

/* a:b and c are another key than a and b:c, and NULL is another than nothing. */
static void events_have_keys_of_their_own(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_stream(f, "web", 1);
    put_file(f, "models/a/pairs.sql",
        "/* cupel\nkind: stream\nkey: [a, b]\nemit: {stream: alerts, columns: [a]}\n*/\n"
        "SELECT payload->>'$.a' AS a, payload->>'$.b' AS b, _event_id, _received_at FROM bronze.web");
    open_well(f);
    size_t n;
    append_one(f, web, "{\"a\":\"first\"}");
    (void)run_all(f, &n);
    append_one(f, web, "{\"a\":\"a:b\",\"b\":\"c\"}");
    append_one(f, web, "{\"a\":\"a\",\"b\":\"b:c\"}");
    append_one(f, web, "{\"a\":\"\",\"b\":\"c\"}");
    append_one(f, web, "{\"a\":null,\"b\":\"c\"}");
    (void)run_all(f, &n);
    rows_are(f, "SELECT count(DISTINCT payload->>'$.key') AS keys, count(DISTINCT id) AS ids FROM warehouse.cupel.outbox", "[{\"keys\":4,\"ids\":4}]");
}

static void chains_restate_what_changed(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 1);
    put_file(f, "models/gold/merged.sql", merge_model);
    put_file(f, "models/gold/days.sql", bucket_model);
    put_file(f, "models/gold/ids.sql", by_model);
    put_file(f, "models/gold/n.sql", full_model);
    put_file(f, "models/gold/seen.sql", "/* cupel\nkind: view\n*/\nSELECT merged.*, n.n AS rows FROM gold.merged JOIN gold.n ON true");
    put_file(f, "models/gold/over.sql", "/* cupel\nkind: full\n*/\nSELECT * FROM gold.seen");
    open_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    append_one(f, web, "{\"id\":\"b\",\"at\":\"2026-01-02T11:00:00Z\",\"v\":2}");
    struct flow_model_result *r = run_all(f, &n);
    verify_all(f);
    append_one(f, web, "{\"id\":\"c\",\"at\":\"2026-01-02T12:00:00Z\",\"v\":30}");
    r = run_all(f, &n);
    assert_string_equal(result_of(r, n, "gold.merged")->strategy, "merge");
    assert_string_equal(result_of(r, n, "gold.days")->strategy, "bucket");
    assert_string_equal(result_of(r, n, "gold.ids")->strategy, "by");
    assert_int_equal(result_of(r, n, "gold.days")->inserted, 1);
    assert_int_equal(result_of(r, n, "gold.ids")->inserted, 1);
    rows_are(f, "SELECT day, total, n FROM warehouse.gold.merged ORDER BY day",
        "[{\"day\":\"2026-01-01\",\"total\":1,\"n\":1},{\"day\":\"2026-01-02\",\"total\":32,\"n\":2}]");
    rows_are(f, "SELECT target, payload->>'$.event.id' AS id, payload->'$.event' AS event FROM warehouse.cupel.outbox",
        "[{\"target\":\"alerts\",\"id\":\"c\",\"event\":{\"type\":\"big\",\"id\":\"c\",\"v\":60}}]");
    verify_all(f);
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-03T10:00:00Z\",\"v\":7}");
    append_one(f, web, "{\"id\":\"b\",\"op\":\"delete\"}");
    r = run_all(f, &n);
    assert_string_equal(result_of(r, n, "gold.merged")->strategy, "merge by keys");
    rows_are(f, "SELECT day, total FROM warehouse.gold.days ORDER BY day", "[{\"day\":\"2026-01-02\",\"total\":30},{\"day\":\"2026-01-03\",\"total\":7}]");
    verify_all(f);
    r = run_all(f, &n);
    for (size_t i = 0; i < n; i++) assert_int_equal(r[i].inserted + r[i].deleted, 0);
    rows_are(f,
        "SELECT \"table\", strftime(timezone('UTC', as_of_event), '%d %H') AS e FROM warehouse.cupel.freshness WHERE \"table\" IN ('silver.web', 'gold.over') "
        "ORDER BY 1",
        "[{\"table\":\"gold.over\",\"e\":\"03 10\"},{\"table\":\"silver.web\",\"e\":\"03 10\"}]");
}

static void changed_sql_is_swapped(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 1);
    put_file(f, "models/gold/days.sql", bucket_model);
    open_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    (void)run_all(f, &n);
    put_file(f, "models/silver/web.sql", HEADER_WEB " WHERE payload->>'$.id' <> 'b'");
    put_file(f, "models/gold/days.sql",
        "/* cupel\nkind: incremental\nbucket: day\ntime: day\n*/\nSELECT CAST(ts AS DATE) AS day, sum(v) AS total, count(*) AS n FROM silver.web GROUP BY 1");
    load_well(f);
    append_one(f, web, "{\"id\":\"b\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":5}");
    struct flow_model_result *r = run_all(f, &n);
    assert_string_equal(result_of(r, n, "silver.web")->strategy, "rebuild");
    assert_string_equal(result_of(r, n, "gold.days")->strategy, "rebuild");
    rows_are(f, "SELECT day, total, n FROM warehouse.gold.days", "[{\"day\":\"2026-01-01\",\"total\":1,\"n\":1}]");
    r = run_with(f, (struct flow_run_options){.dry_run = true, .force = true}, &n);
    assert_int_equal(r[0].status, FLOW_PLANNED);
    assert_non_null(r[0].sql);
    verify_all(f);
}

static void references_are_loaded(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 1);
    put_file(f, "reference/names.csv", "id,name,code\na,Anna,007\nb,Bo,008\n");
    put_file(f, "reference/names.yaml", "columns: {code: VARCHAR}\n");
    put_file(f, "models/silver/named.sql",
        "/* cupel\nkind: stream\nkey: [id]\n*/\nSELECT w.id, name, code, w._received_at, w._event_id FROM silver.web w LEFT JOIN ref.names USING (id)");
    open_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    append_one(f, web, "{\"id\":\"c\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    (void)run_all(f, &n);
    rows_are(f, "SELECT id, name, code FROM warehouse.silver.named ORDER BY id",
        "[{\"id\":\"a\",\"name\":\"Anna\",\"code\":\"007\"},{\"id\":\"c\",\"name\":null,\"code\":null}]");
    put_file(f, "reference/names.csv", "id,name,code\na,Anna,007\nc,Cem,009\n");
    load_well(f);
    struct flow_model_result *r = run_all(f, &n);
    assert_int_equal(result_of(r, n, "silver.named")->inserted, 1);
    assert_int_equal(result_of(r, n, "silver.named")->deleted, 1);
    rows_are(f, "SELECT id, name FROM warehouse.silver.named ORDER BY id", "[{\"id\":\"a\",\"name\":\"Anna\"},{\"id\":\"c\",\"name\":\"Cem\"}]");
    append_one(f, web, "{\"id\":\"c\",\"op\":\"delete\"}");
    r = run_all(f, &n);
    assert_string_equal(result_of(r, n, "silver.named")->strategy, "stream by keys");
    rows_are(f, "SELECT id FROM warehouse.silver.named", "[{\"id\":\"a\"}]");
    verify_all(f);
}

static void a_failed_run_leaves_the_table(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 1);
    put_file(f, "models/gold/days.sql", bucket_model);
    put_file(f, "models/gold/other.sql", "/* cupel\nkind: full\n*/\nSELECT count(*) AS n FROM bronze.web");
    open_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    (void)run_all(f, &n);
    append_one(f, web, "{\"id\":\"a\",\"at\":\"not a time\",\"v\":1}");
    struct flow_model_result *r = run_with(f, (struct flow_run_options){0}, &n);
    assert_int_equal(result_of(r, n, "silver.web")->status, FLOW_FAILED);
    assert_non_null(strstr(result_of(r, n, "silver.web")->error, "not a time"));
    assert_int_equal(result_of(r, n, "gold.days")->status, FLOW_SKIPPED);
    assert_int_equal(result_of(r, n, "gold.other")->status, FLOW_DONE);
    rows_are(f, "SELECT id, v FROM warehouse.silver.web", "[{\"id\":\"a\",\"v\":1}]");
    rows_are(f, "SELECT model, status FROM warehouse.cupel.runs WHERE status = 'failed'", "[{\"model\":\"silver.web\",\"status\":\"failed\"}]");
}

static void expectations_part_the_batch(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 1);
    put_file(f, "models/gold/days.sql", bucket_model);
    put_file(f, "expectations/silver.web.yaml",
        "table: silver.web\non_fail: quarantine\nexpectations:\n  - expect_column_values_to_be_between: {column: v, min_value: 0, max_value: 100}\n");
    put_file(f, "expectations/gold.days.yaml",
        "table: gold.days\non_fail: fail\nexpectations:\n  - expect_column_sum_to_be_between: {column: total, min_value: 0, max_value: 150}\n");
    open_well(f);
    size_t n;
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1}");
    append_one(f, web, "{\"id\":\"b\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":1000}");
    struct flow_model_result *r = run_all(f, &n);
    assert_int_equal(result_of(r, n, "silver.web")->quarantined, 1);
    append_one(f, web, "{\"id\":\"a\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":-5}"); /* an invalid row replaces nothing */
    append_one(f, web, "{\"id\":\"c\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":90}");
    r = run_all(f, &n);
    assert_int_equal(result_of(r, n, "silver.web")->rows_in, 2);
    assert_int_equal(result_of(r, n, "silver.web")->rows_out, 1);
    assert_int_equal(result_of(r, n, "silver.web")->quarantined, 1);
    rows_are(f, "SELECT id, v FROM warehouse.silver.web ORDER BY id", "[{\"id\":\"a\",\"v\":1},{\"id\":\"c\",\"v\":90}]");
    rows_are(f, "SELECT _raw->>'$.v' AS v FROM warehouse.quarantine.silver__web ORDER BY 1", "[{\"v\":\"-5\"},{\"v\":\"1000\"}]");
    verify_all(f);
    append_one(f, web, "{\"id\":\"d\",\"at\":\"2026-01-02T10:00:00Z\",\"v\":80}");
    r = run_with(f, (struct flow_run_options){0}, &n);
    assert_int_equal(result_of(r, n, "gold.days")->status, FLOW_FAILED);
    assert_non_null(strstr(result_of(r, n, "gold.days")->error, "expect_column_sum_to_be_between"));
    rows_are(f, "SELECT day, total FROM warehouse.gold.days", "[{\"day\":\"2026-01-01\",\"total\":91}]");
    put_file(f, "expectations/silver.web.yaml",
        "table: silver.web\non_fail: quarantine\nexpectations:\n  - expect_column_values_to_be_between: {column: v, min_value: -9, max_value: 1000}\n");
    put_file(f, "expectations/gold.days.yaml", "table: gold.days\nexpectations: []\n");
    load_well(f);
    r = run_with(f, (struct flow_run_options){.models = (const char *const[]){"silver.web"}, .n = 1, .redrive = true}, &n);
    assert_null(r[0].error);
    rows_are(f, "SELECT id, v FROM warehouse.silver.web ORDER BY id",
        "[{\"id\":\"a\",\"v\":-5},{\"id\":\"b\",\"v\":1000},{\"id\":\"c\",\"v\":90},{\"id\":\"d\",\"v\":80}]");
    rows_are(f, "SELECT count(*) AS n FROM warehouse.quarantine.silver__web", "[{\"n\":0}]");
    (void)run_all(f, &n);
    verify_all(f);
    r = run_with(f, (struct flow_run_options){.full_refresh = true}, &n);
    for (size_t i = 0; i < n; i++) assert_null(r[i].error);
    verify_all(f);
}

static void the_engine_may_die(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 1);
    put_file(f, "models/gold/merged.sql", merge_model);
    open_well(f);
    size_t n;
    for (int i = 0; i < 4; i++) {
        append_one(f, web, arena_printf(f->arena, "{\"id\":\"%d\",\"at\":\"2026-01-01T10:00:00Z\",\"v\":%d}", i, i));
        kill(engine_pid(f->engine), SIGKILL);
        (void)run_all(f, &n);
    }
    verify_all(f);
    rows_are(f, "SELECT total, n FROM warehouse.gold.merged", "[{\"total\":6,\"n\":4}]");
}

struct runner {
    struct fixture *f;
    struct arena *arena;
    int rounds;
    char failure[600];
};

static void *run_again_and_again(void *argument) {
    struct runner *r = argument;
    for (int i = 0; i < r->rounds && !*r->failure; i++) {
        struct flow_model_result *results;
        size_t n = 0;
        struct err err;
        if (flow_run(r->f->flow, r->arena, &(struct flow_run_options){0}, &results, &n, &err) != OK) snprintf(r->failure, sizeof r->failure, "%s", err.text);
        for (size_t k = 0; k < n; k++) {
            if (results[k].status == FLOW_FAILED) snprintf(r->failure, sizeof r->failure, "%s: %s", results[k].model, results[k].error);
        }
    }
    return NULL;
}

static void two_runs_at_once(void **state) {
    struct fixture *f = *state;
    uint16_t web = add_web(f, 2);
    put_file(f, "models/gold/merged.sql", merge_model);
    put_file(f, "models/gold/days.sql", bucket_model);
    put_file(f, "models/gold/ids.sql", by_model);
    open_well(f);
    size_t n;
    (void)run_all(f, &n);
    struct runner runners[3] = {
        {.f = f, .arena = arena_new(), .rounds = 12}, {.f = f, .arena = arena_new(), .rounds = 12}, {.f = f, .arena = arena_new(), .rounds = 12}};
    struct thread threads[3] = {0};
    for (int i = 0; i < 3; i++) thread_start(&threads[i], "runner", run_again_and_again, &runners[i]);
    for (int i = 0; i < 60; i++) append_one(f, web, arena_printf(f->arena, "{\"id\":\"%d\",\"at\":\"2026-01-0%dT10:00:00Z\",\"v\":%d}", i % 20, 1 + i % 3, i));
    for (int i = 0; i < 3; i++) {
        thread_join(&threads[i]);
        if (*runners[i].failure) fail_msg("%s", runners[i].failure);
        arena_free(&runners[i].arena);
    }
    (void)run_all(f, &n);
    rows_are(f, "SELECT CAST(sum(v) AS BIGINT) AS v, count(*) AS n FROM warehouse.silver.web", "[{\"v\":990,\"n\":20}]");
    verify_all(f);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "engine") == 0) return engine_main(argc - 1, argv + 1, no_kinds);
    log_configure((struct log_options){.level = LOG_ERROR, .quiet = true});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_problems_in_one_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(circles_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(headers_cannot_speak_for_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expectations_are_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_time_has_its_bucket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(events_have_keys_of_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_graph_is_the_syntax_trees, set_up, tear_down),
        cmocka_unit_test(macros_are_part_of_the_sql),
        cmocka_unit_test_setup_teardown(streams_may_not_join, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stream_keeps_the_newest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_only_looked_at_stays_due, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_range_by_hand_adds_nothing_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_range_by_hand_leaves_other_changes_to_come, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rebuild_mends_a_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chains_restate_what_changed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changed_sql_is_swapped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(references_are_loaded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_run_leaves_the_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expectations_part_the_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_runs_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_engine_may_die, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
