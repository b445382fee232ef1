/* Incremental models that restate whole buckets or keys. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

#define HOUR_US INT64_C(3600000000)

static int64_t unit_us(const struct run *run) { return run->m->pub.bucket == FLOW_BUCKET_HOUR ? HOUR_US : 24 * HOUR_US; }

static bool reads_on(const struct run *run) {
    for (size_t i = 0; i < run->inputs_n; i++) {
        if (run->inputs[i].in->reads_ms || run->inputs[i].in->reads_until_next) return true;
    }
    return false;
}

/* ---- which buckets ---- */

struct touched {
    struct interval *list;
    size_t n, cap;
    bool everything; /* rows without a time: no bucket says where they reach */
};

static int64_t floor_to(int64_t value, int64_t unit) { return value - ((value % unit) + unit) % unit; }

static void add_interval(struct run *run, struct touched *t, struct interval interval) {
    if (t->n == t->cap) {
        struct interval *old = t->list;
        t->cap = t->cap ? t->cap * 2 : 64;
        t->list = arena_new_array(run->arena, struct interval, t->cap);
        if (old) memcpy(t->list, old, t->n * sizeof *old);
    }
    t->list[t->n++] = interval;
}

/* One changed bucket of an input, widened to what it reaches in the output. */
static void touch(struct run *run, struct touched *t, const struct run_input *in, int64_t label) {
    int64_t unit = unit_us(run), to = label + unit + (in ? in->in->reads_ms * 1000 : 0);
    struct interval i = {floor_to(label - run->m->pub.lookback_ms * 1000, unit), floor_to(to + unit - 1, unit)};
    if (in && in->in->reads_until_next) i.to = INT64_MAX;
    if (run->m->pub.bucket == FLOW_BUCKET_HOUR && strcmp(run->flow->options.timezone, "UTC") != 0) { /* the hour that a change of clocks repeats */
        i.from -= unit;
        if (i.to != INT64_MAX) i.to += unit;
    }
    add_interval(run, t, i);
}

static int by_from(const void *a, const void *b) {
    const struct interval *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Overlapping and touching intervals become one; then the nearest ones, until there are few enough to run the SQL for each. */
static void join_intervals(struct touched *t) {
    if (t->n) qsort(t->list, t->n, sizeof *t->list, by_from);
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (n && t->list[i].from <= t->list[n - 1].to) {
            if (t->list[i].to > t->list[n - 1].to) t->list[n - 1].to = t->list[i].to;
        } else {
            t->list[n++] = t->list[i];
        }
    }
    while (n > INTERVALS_MAX) {
        size_t nearest = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (t->list[i + 1].from - t->list[i].to < t->list[nearest + 1].from - t->list[nearest].to) nearest = i;
        }
        t->list[nearest].to = t->list[nearest + 1].to;
        memmove(&t->list[nearest + 1], &t->list[nearest + 2], (n - nearest - 2) * sizeof *t->list);
        n--;
    }
    t->n = n;
}

static void changed_buckets_sql(struct buf *sql, const struct run *run) {
    buf_text(sql, "SELECT i, b, sum(n) AS n, count(*) - sum(n) AS old FROM (SELECT 0 AS i, 0::BIGINT AS b, 0 AS n WHERE false");
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->in->lookup || !in->model || !in->known) continue;
        for (int old = 0; old < 2; old++) {
            buf_printf(sql, " UNION ALL SELECT %zu, ", i);
            sql_label(sql, run, in->model->pub.time, time_type(in->model));
            buf_printf(sql, ", %s ", old ? "0" : "1");
            sql_rows_since(sql, in, old);
        }
    }
    buf_text(sql, ") GROUP BY i, b ORDER BY i, b");
}

static enum status newest_label(struct run *run, int64_t *newest, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT max(b) AS n FROM (SELECT NULL::BIGINT AS b WHERE false");
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->in->lookup || !in->model) continue;
        buf_text(&sql, " UNION ALL SELECT ");
        BUF_SCOPE(time);
        sql_name(&time, in->model->pub.time);
        sql_label(&sql, run, in->model->pub.time, time_type(in->model));
        buf_printf(&sql, " FROM (SELECT max(%s) AS %s FROM %s)", buf_cstr(&time), buf_cstr(&time), in->model->table);
    }
    buf_char(&sql, ')');
    return run_count(run, buf_cstr(&sql), newest, err);
}

/* With reads, the output may have rows for buckets that no input has (days without sales). When the last day moves on, all behind the table's last bucket
 * are new; when it moves back, all behind the inputs' last one are gone. */
static enum status touch_end(struct run *run, struct touched *t, int64_t newest, int64_t newest_old, struct err *err) {
    if (!reads_on(run) || !t->n) return OK;
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT max(");
    sql_label(&sql, run, run->m->pub.time, time_type(run->m));
    buf_printf(&sql, ") AS last, count(*) AS n FROM %s", run->m->table);
    json_t *rows;
    enum status st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    bool any = cell_int(json_array_get(rows, 0), "n") > 0;
    int64_t last = cell_int(json_array_get(rows, 0), "last"), end = last;
    json_decref(rows);
    if (!any) return OK;
    if (newest > last) add_interval(run, t, (struct interval){last, newest});
    if (newest_old < last) return OK;
    st = newest_label(run, &end, err);
    add_interval(run, t, (struct interval){end < last ? end : last, INT64_MAX});
    return st;
}

static enum status touched_by_changes(struct run *run, struct touched *t, struct err *err) {
    BUF_SCOPE(sql);
    changed_buckets_sql(&sql, run);
    json_t *rows, *row;
    size_t k;
    enum status st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    int64_t newest = INT64_MIN, newest_old = INT64_MIN;
    json_array_foreach(rows, k, row) {
        size_t i = (size_t)cell_int(row, "i");
        run->result->rows_in += cell_int(row, "n");
        if (json_is_null(json_object_get(row, "b"))) {
            t->everything = true;
            continue;
        }
        int64_t label = cell_int(row, "b");
        if (label > newest) newest = label;
        if (label > newest_old && cell_int(row, "old")) newest_old = label;
        touch(run, t, &run->inputs[i], label);
    }
    json_decref(rows);
    return touch_end(run, t, newest, newest_old, err);
}

/* Asked for by hand: [from_us, to_us). Positions stay: what else has changed is still to be restated. */
static enum status touched_by_hand(struct run *run, struct touched *t, struct err *err) {
    for (size_t i = 0; i < run->inputs_n; i++) run->inputs[i].to = run->inputs[i].from;
    BUF_SCOPE(sql);
    const char *unit = run->m->pub.bucket == FLOW_BUCKET_HOUR ? "hour" : "day";
    buf_printf(&sql,
        "SELECT epoch_us(CAST(date_trunc('%s', timezone('%s', make_timestamptz(%lld))) AS TIMESTAMP)) AS a, epoch_us(CAST(date_trunc('%s', timezone('%s', "
        "make_timestamptz(%lld))) AS TIMESTAMP)) AS b",
        unit, run->flow->options.timezone, (long long)run->options->from_us, unit, run->flow->options.timezone, (long long)run->options->to_us - 1);
    json_t *rows;
    enum status st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    touch(run, t, NULL, cell_int(json_array_get(rows, 0), "a"));
    t->list[0].to = cell_int(json_array_get(rows, 0), "b") + unit_us(run);
    json_decref(rows);
    return OK;
}

static void put_intervals(struct buf *out, const struct run *run, const struct touched *t) {
    const char *type = time_type(run->m);
    for (size_t i = 0; i < t->n; i++) {
        buf_text(out, i ? " OR (" : "(");
        sql_interval(out, run, run->m->pub.time, type, t->list[i]);
        buf_char(out, ')');
    }
    if (!t->n) buf_text(out, "false");
}

static enum status compute_bucket(struct run *run, struct interval interval, bool first, struct err *err) {
    enum status st = run_views(run, SHOW_INTERVAL, &interval, err);
    BUF_SCOPE(sql);
    buf_text(&sql, first ? "CREATE OR REPLACE TEMP TABLE _new AS SELECT " : "INSERT INTO temp._new SELECT ");
    sql_columns(&sql, "", run->m->pub.columns, run->m->pub.columns_n);
    buf_printf(&sql, " FROM (\n%s\n) WHERE ", run->m->pub.sql);
    sql_interval(&sql, run, run->m->pub.time, time_type(run->m), interval);
    return st == OK ? run_buf(run, &sql, NULL, err) : st;
}

static void describe_plan(struct run *run, const struct touched *t) {
    BUF_SCOPE(text);
    buf_printf(&text, "%zu stretches of %ss:", t->n, run->m->pub.bucket == FLOW_BUCKET_HOUR ? "hour" : "day");
    for (size_t i = 0; i < t->n; i++) {
        buf_text(&text, i ? ", " : " ");
        if (t->list[i].from != INT64_MIN) sql_label_constant(&text, run, t->list[i].from, "DATE");
        buf_text(&text, " to ");
        if (t->list[i].to != INT64_MAX) sql_label_constant(&text, run, t->list[i].to, "DATE");
    }
    run->result->detail = arena_strdup(run->arena, buf_cstr(&text));
}

/* ---- writing, for buckets, keys and merges ---- */

enum status run_write_restated(struct run *run, const char *where, struct err *err) {
    must(run && where);
    enum status st = run_sql(run, "COMMIT", NULL, err);
    if (st == OK) st = run_expect_rows(run, "temp._new", err);
    if (st != OK || run->options->dry_run) return st;
    run_take_version(run);
    st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_expect_quarantine(run, "temp._new", err);
    if (st == OK) st = diff_make(run, "temp._new", where, err);
    if (st == OK) st = diff_apply(run, err);
    bool changed = run->result->inserted || run->result->deleted;
    if (st == OK && changed) st = run_expect_table(run, "temp._new", err);
    return st == OK ? run_commit(run, changed, err) : st;
}

/* Nothing to restate: only the positions move on. */
enum status run_write_nothing(struct run *run, struct err *err) {
    enum status st = run_sql(run, "COMMIT", NULL, err);
    if (st != OK || run->options->dry_run) return st;
    run_take_version(run);
    st = run_sql(run, "BEGIN", NULL, err);
    return st == OK ? run_commit(run, false, err) : st;
}

static enum status count_new(struct run *run, struct err *err) { return run_count(run, "SELECT count(*) AS n FROM temp._new", &run->result->rows_out, err); }

static enum status begin_reading(struct run *run, struct err *err) {
    enum status st = run_session(run, true, NULL, err);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    return st == OK ? run_read_versions(run, err) : st;
}

enum status run_become_whole(struct run *run, const char *why, struct err *err) {
    enum status st = run_sql(run, "ROLLBACK", NULL, err);
    run_session_end(run);
    run->views_made = false;
    run->restate_all = true;
    run->why = why;
    run->result->rows_in = 0;
    run->result->strategy = "rebuild";
    return st == OK ? run_whole(run, err) : st;
}

enum status run_bucket(struct run *run, struct err *err) {
    must(run && run->m->pub.bucket);
    struct touched t = {0};
    enum status st = begin_reading(run, err);
    bool by_hand = run->options->from_us || run->options->to_us;
    if (st == OK) st = by_hand ? touched_by_hand(run, &t, err) : touched_by_changes(run, &t, err);
    if (st != OK) return st;
    if (t.everything) return run_become_whole(run, "an input has rows without a time", err);
    join_intervals(&t);
    describe_plan(run, &t);
    if (!t.n) return run_write_nothing(run, err);
    for (size_t i = 0; i < t.n && st == OK; i++) st = compute_bucket(run, t.list[i], i == 0, err);
    if (st == OK) st = count_new(run, err);
    BUF_SCOPE(where);
    put_intervals(&where, run, &t);
    return st == OK ? run_write_restated(run, buf_cstr(&where), err) : st;
}

/* ---- by keys ---- */

static void changed_keys_sql(struct buf *sql, const struct run *run) {
    BUF_SCOPE(keys);
    sql_names(&keys, "", run->m->pub.by, run->m->pub.by_n);
    buf_printf(sql, "CREATE OR REPLACE TEMP TABLE _keys AS SELECT DISTINCT %s FROM (", buf_cstr(&keys));
    bool any = false;
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->in->lookup || !in->model || !in->known) continue;
        for (int old = 0; old < 2; old++) {
            buf_printf(sql, "%sSELECT %s ", any ? " UNION ALL " : "", buf_cstr(&keys));
            sql_rows_since(sql, in, old);
            any = true;
        }
    }
    buf_char(sql, ')');
}

enum status run_count_keys(struct run *run, int64_t *keys, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT count(*) AS n, count(*) FILTER (");
    for (size_t i = 0; i < run->m->pub.by_n; i++) {
        buf_text(&sql, i ? " OR " : "");
        sql_name(&sql, run->m->pub.by[i]);
        buf_text(&sql, " IS NULL");
    }
    buf_text(&sql, ") AS nulls FROM temp._keys");
    json_t *rows;
    enum status st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    *keys = cell_int(json_array_get(rows, 0), "n");
    run->keys_nulls = cell_int(json_array_get(rows, 0), "nulls") > 0;
    json_decref(rows);
    run->result->detail = arena_printf(run->arena, "%lld keys", (long long)*keys);
    return OK;
}

static enum status count_delta(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT count(*) AS n FROM (SELECT 1 WHERE false");
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->in->lookup || !in->model || !in->known) continue;
        buf_text(&sql, " UNION ALL SELECT 1 ");
        sql_rows_since(&sql, in, false);
    }
    buf_char(&sql, ')');
    return run_count(run, buf_cstr(&sql), &run->result->rows_in, err);
}

enum status run_by(struct run *run, struct err *err) {
    must(run && run->m->pub.by_n);
    int64_t keys = 0;
    enum status st = begin_reading(run, err);
    BUF_SCOPE(sql);
    changed_keys_sql(&sql, run);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = count_delta(run, err);
    if (st == OK) st = run_count_keys(run, &keys, err);
    if (st == OK && !keys) return run_write_nothing(run, err);
    if (st == OK) st = run_views(run, SHOW_KEYS, NULL, err);
    buf_text(&sql, "CREATE OR REPLACE TEMP TABLE _new AS SELECT ");
    sql_columns(&sql, "", run->m->pub.columns, run->m->pub.columns_n);
    buf_printf(&sql, " FROM (\n%s\n) AS o_ WHERE ", run->m->pub.sql);
    sql_has_key(&sql, "temp._keys", "o_", run->m->pub.by, run->m->pub.by_n, run->keys_nulls);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = count_new(run, err);
    BUF_SCOPE(where);
    sql_has_key(&where, "temp._keys", "t_", run->m->pub.by, run->m->pub.by_n, run->keys_nulls);
    return st == OK ? run_write_restated(run, buf_cstr(&where), err) : st;
}
