/* Stream models: what is new of the inputs goes through the SQL; of each key the newest rows stay. Rebuilds of more than one wave read bronze in waves
 * into a table beside the old one. */
#include <string.h>

#include "base/assert.h"
#include "base/event_id.h"
#include "flow/run_priv.h"

static bool is_bronze(const struct run_input *in) { return in->in->kind == FLOW_INPUT_EVENTS || in->in->kind == FLOW_INPUT_LANDING; }

/* ---- how far bronze was read ---- */

static void grow_offsets(struct run *run, struct position *to, uint16_t n) {
    if (n <= to->offsets_n) return;
    uint64_t *longer = arena_new_array(run->arena, uint64_t, n);
    if (to->offsets_n) memcpy(longer, to->offsets, to->offsets_n * sizeof *longer);
    to->offsets = longer;
    to->offsets_n = n;
}

static void take_end(struct run *run, struct run_input *in, const json_t *row) {
    int64_t received = cell_int(row, "r"), rows = cell_int(row, "n");
    const char *id = cell_text(row, "id");
    struct event_id parsed;
    struct event_address address = {0};
    if (!rows || !id || !event_id_parse(str_of(id), &parsed) || !event_id_read(parsed, &address)) return;
    uint16_t partition = in->in->kind == FLOW_INPUT_EVENTS ? address.partition : 0;
    grow_offsets(run, &in->to, (uint16_t)(partition + 1u));
    if (address.offset + 1 > in->to.offsets[partition]) in->to.offsets[partition] = address.offset + 1;
    if (received > in->to.received_us) in->to.received_us = received;
    if (received > run->as_of_received_us) run->as_of_received_us = received;
    in->rows += rows;
    if (!in->in->lookup) run->result->rows_in += rows;
}

enum status run_bronze_ends(struct run *run, struct err *err) {
    must(run);
    enum status st = OK;
    for (size_t i = 0; i < run->inputs_n && st == OK; i++) {
        struct run_input *in = &run->inputs[i];
        if (!is_bronze(in)) continue;
        BUF_SCOPE(sql);
        bool stream = in->in->kind == FLOW_INPUT_EVENTS;
        buf_printf(&sql, "SELECT CAST(max(_event_id) AS VARCHAR) AS id, epoch_us(max(_received_at)) AS r, count(*) AS n FROM ");
        if (stream)
            buf_clear(&sql), buf_text(&sql, "SELECT CAST(arg_max(_event_id, _offset) AS VARCHAR) AS id, epoch_us(max(_received_at)) AS r, count(*) AS n FROM ");
        sql_table(&sql, in->in->schema, in->in->name);
        if (stream) buf_text(&sql, " GROUP BY _partition");
        json_t *rows, *row;
        size_t k;
        st = run_buf(run, &sql, &rows, err);
        if (st != OK) return st;
        json_array_foreach(rows, k, row) take_end(run, in, row);
        json_decref(rows);
    }
    return st;
}

/* ---- one batch: reading ---- */

static void put_key_null(struct buf *out, const struct run *run) {
    for (size_t i = 0; i < run->m->pub.key_n; i++) {
        buf_text(out, i ? " OR " : "");
        sql_name(out, run->m->pub.key[i]);
        buf_text(out, " IS NULL");
    }
}

struct batch {
    int64_t rows; /* valid ones */
    bool duplicates; /* some keys are there more than once */
    int64_t old_rows; /* the target has of these keys, rows of removed keys included */
};

/* Rows that the WHERE leaves out on purpose: counted by the condition when it is one; a sentence explains whatever is missing. */
static enum status count_filtered(struct run *run, int64_t in_rows, int64_t out_rows, int64_t *filtered, struct err *err) {
    *filtered = 0;
    if (!run->m->pub.drops) return OK;
    if (!run->m->drops_is_sql) {
        *filtered = !run->m->pub.expands && in_rows > out_rows ? in_rows - out_rows : 0;
        return OK;
    }
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT count(*) AS n FROM (SELECT 1 WHERE false");
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->in->lookup) continue;
        buf_text(&sql, " UNION ALL SELECT 1 FROM ");
        sql_table(&sql, in->in->schema, in->in->name);
        buf_printf(&sql, " WHERE (%s)", run->m->pub.drops);
    }
    buf_char(&sql, ')');
    return run_count(run, buf_cstr(&sql), filtered, err);
}

static enum status count_model_rows(struct run *run, struct err *err) {
    enum status st = OK;
    for (size_t i = 0; i < run->inputs_n && st == OK; i++) {
        const struct run_input *in = &run->inputs[i];
        if (!in->model || in->in->lookup) continue;
        int64_t n = 0;
        BUF_SCOPE(sql);
        buf_text(&sql, "SELECT count(*) AS n FROM ");
        sql_table(&sql, in->in->schema, in->in->name);
        st = run_count(run, buf_cstr(&sql), &n, err);
        run->result->rows_in += n;
    }
    return st;
}

static enum status note_times(struct run *run, struct err *err) {
    const char *type = run->m->pub.time ? time_type(run->m) : NULL;
    if (!type || (strcmp(type, "DATE") != 0 && strncmp(type, "TIMESTAMP", 9) != 0) || run->m->pub.unvalidated) return OK;
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT epoch_us(CAST(max(");
    sql_name(&sql, run->m->pub.time);
    buf_text(&sql, ") AS TIMESTAMPTZ)) AS n FROM temp._batch");
    int64_t newest = 0;
    enum status st = run_count(run, buf_cstr(&sql), &newest, err);
    if (newest > run->as_of_event_us) run->as_of_event_us = newest;
    return st;
}

static enum status count_batch(struct run *run, struct batch *b, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT count(*) AS n");
    if (run->m->pub.key_n) {
        buf_text(&sql, ", count(*) - count(DISTINCT row(");
        sql_names(&sql, "", run->m->pub.key, run->m->pub.key_n);
        buf_text(&sql, ")) AS twice, count(*) FILTER (");
        put_key_null(&sql, run);
        buf_text(&sql, ") AS nulls");
    }
    buf_text(&sql, " FROM temp._batch");
    json_t *rows;
    enum status st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    const json_t *row = json_array_get(rows, 0);
    b->rows = cell_int(row, "n");
    b->duplicates = cell_int(row, "twice") > 0;
    run->keys_nulls = cell_int(row, "nulls") > 0;
    json_decref(rows);
    return OK;
}

/* _batch: what the SQL makes of what the views show; what the WHERE left out. */
enum status stream_compute(struct run *run, int64_t rows_in, struct err *err) {
    int64_t out = 0, filtered = 0;
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE OR REPLACE TEMP TABLE _batch AS SELECT ");
    sql_columns(&sql, "", run->m->pub.columns, run->m->pub.columns_n);
    buf_printf(&sql, " FROM (\n%s\n)", run->m->pub.sql);
    enum status st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._batch", &out, err);
    if (st == OK) st = count_filtered(run, rows_in, out, &filtered, err);
    run->result->filtered += filtered;
    return st;
}

/* Reads a batch; nothing new: *rows_in 0, and no SQL was run. */
static enum status read_batch(struct run *run, int64_t *rows_in, struct err *err) {
    int64_t before = run->result->rows_in;
    enum status st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_read_versions(run, err);
    if (st == OK) st = run_bronze_ends(run, err);
    if (st == OK) st = run_views(run, SHOW_DELTA, NULL, err);
    if (st == OK) st = count_model_rows(run, err);
    *rows_in = run->result->rows_in - before;
    if (st == OK && *rows_in) st = stream_compute(run, *rows_in, err);
    if (st == OK) st = run_sql(run, "COMMIT", NULL, err);
    return st == OK && *rows_in ? run_expect_rows(run, "temp._batch", err) : st;
}

/* ---- one batch: writing ---- */

static void columns_of(struct buf *out, const struct run *run, const char *prefix) { sql_columns(out, prefix, run->m->pub.columns, run->m->pub.columns_n); }

static void put_newest(struct buf *out, const struct run *run, const char *column) {
    if (!model_column(run->m, column)) return; /* not asked for where the key is the event itself */
    sql_name(out, column);
    buf_text(out, " DESC NULLS LAST, ");
}

/* Newest first. Among equal ones arrival decides, not which run they came with. */
static void put_order(struct buf *out, const struct run *run) {
    for (size_t i = 0; i < run->m->pub.order_n; i++) put_newest(out, run, run->m->pub.order[i]);
    if (run->m->order_given) put_newest(out, run, "_received_at"), put_newest(out, run, "_event_id");
    buf_text(out, "cupel_new_ DESC");
}

/* The table's rows of the batch's keys, and what is noted of their ends. */
static enum status make_old(struct run *run, struct batch *b, struct err *err) {
    if (!run->m->pub.key_n || run->target_empty) return OK;
    BUF_SCOPE(columns);
    columns_of(&columns, run, "");
    BUF_SCOPE(sql);
    buf_printf(&sql, "CREATE OR REPLACE TEMP TABLE _old AS SELECT %s, t_.rowid AS cupel_row_, false AS cupel_gone_ FROM %s AS t_ WHERE ", buf_cstr(&columns),
        run->target);
    sql_has_key(&sql, "temp._batch", "t_", run->m->pub.key, run->m->pub.key_n, run->keys_nulls);
    if (model_keeps_ends(run->m)) {
        buf_printf(&sql, " UNION ALL SELECT %s, t_.rowid, true FROM %s AS t_ WHERE ", buf_cstr(&columns), run->target_gone);
        sql_has_key(&sql, "temp._batch", "t_", run->m->pub.key, run->m->pub.key_n, run->keys_nulls);
    }
    enum status st = run_buf(run, &sql, NULL, err);
    return st == OK ? run_count(run, "SELECT count(*) AS n FROM temp._old", &b->old_rows, err) : st;
}

static void put_same(struct buf *out, const char *column) {
    buf_text(out, " AND k_.");
    sql_name(out, column);
    buf_text(out, " IS NOT DISTINCT FROM t_.");
    sql_name(out, column);
}

/* Rows of the same input row are restated as a whole: what the table has of it goes. Without the event's id the order tells which it was. */
static void put_candidates(struct buf *out, const struct run *run, const struct batch *b) {
    const struct flow_model *p = &run->m->pub;
    BUF_SCOPE(columns);
    columns_of(&columns, run, "");
    buf_printf(out, "SELECT %s, true AS cupel_new_ FROM temp._batch", buf_cstr(&columns));
    if (!b->old_rows) return;
    buf_printf(out, " UNION ALL SELECT %s, false FROM temp._old AS t_ WHERE NOT EXISTS (SELECT 1 FROM temp._batch AS k_ WHERE true", buf_cstr(&columns));
    for (size_t i = 0; i < p->key_n; i++) put_same(out, p->key[i]);
    if (model_column(run->m, "_event_id")) put_same(out, "_event_id");
    for (size_t i = 0; i < p->order_n && !model_column(run->m, "_event_id"); i++) {
        if (model_column(run->m, p->order[i])) put_same(out, p->order[i]);
    }
    buf_char(out, ')');
}

/* The rows to choose from, as c_, each with cupel_gone_: it removes its key. */
static void put_choice(struct buf *out, const struct run *run, const struct batch *b) {
    buf_printf(out, "CREATE OR REPLACE TEMP TABLE _won AS WITH c_ AS (SELECT *, %s AS cupel_gone_ FROM (",
        run->m->pub.deletes ? arena_printf(run->arena, "coalesce((%s), false)", run->m->pub.deletes) : "false");
    put_candidates(out, run, b);
    buf_text(out, "))");
}

/* Of each key the rows of the newest group as far back as no other group's row and no removal comes between. That first other row stays too, marked as
 * gone: a row that comes late, from before it, must not join the group. So what is kept depends on the rows alone, not on how runs cut them.
 * Most keys have one group: only the others (m_) have to be put in order. */
static void put_last_stretch(struct buf *out, const struct run *run, const char *key, const char *order) {
    BUF_SCOPE(group);
    sql_name(&group, run->m->pub.together);
    const char *g = buf_cstr(&group);
    BUF_SCOPE(mixed);
    sql_has_key(&mixed, "m_", "c_", run->m->pub.key, run->m->pub.key_n, true);
    buf_printf(out,
        ", m_ AS (SELECT %s FROM c_ GROUP BY ALL HAVING min(%s) IS DISTINCT FROM max(%s) OR count(%s) NOT IN (0, count(*)) OR bool_or(cupel_gone_)), "
        "n_ AS (SELECT *, cupel_gone_ OR %s IS DISTINCT FROM first_value(%s) OVER w_ AS cupel_other_, row_number() OVER w_ AS cupel_place_ FROM c_ WHERE %s "
        "WINDOW w_ AS (PARTITION BY %s ORDER BY %s)), "
        "e_ AS (SELECT *, coalesce(min(cupel_place_) FILTER (cupel_other_) OVER (PARTITION BY %s), cupel_place_) AS cupel_end_ FROM n_) "
        "SELECT * FROM (SELECT * FROM c_ WHERE NOT %s UNION ALL BY NAME SELECT * EXCLUDE (cupel_gone_, cupel_other_, cupel_place_, cupel_end_), "
        "cupel_other_ AS cupel_gone_ FROM e_ WHERE cupel_place_ <= cupel_end_)",
        key, g, g, g, g, g, buf_cstr(&mixed), key, order, key, buf_cstr(&mixed));
    if (!run->m->pub.within_n) return;
    buf_text(out, " QUALIFY cupel_gone_");
    for (size_t i = 0; i < run->m->pub.within_n; i++) {
        buf_text(out, " OR ");
        sql_name(out, run->m->pub.within[i]);
        buf_text(out, " IS NULL");
    }
    buf_printf(out, " OR row_number() OVER (PARTITION BY %s, ", key);
    sql_names(out, "", run->m->pub.within, run->m->pub.within_n);
    buf_printf(out, " ORDER BY %s) = 1", order);
}

/* _won: of each key the newest row; with together, the newest group's rows. cupel_gone_: no row of the table, but what ends its key or its group. */
static enum status make_winners(struct run *run, const struct batch *b, struct err *err) {
    BUF_SCOPE(key);
    sql_names(&key, "", run->m->pub.key, run->m->pub.key_n);
    BUF_SCOPE(order);
    put_order(&order, run);
    BUF_SCOPE(sql);
    put_choice(&sql, run, b);
    if (run->m->pub.together) {
        put_last_stretch(&sql, run, buf_cstr(&key), buf_cstr(&order));
    } else {
        buf_printf(&sql, " SELECT * FROM c_ QUALIFY row_number() OVER (PARTITION BY %s ORDER BY %s) = 1", buf_cstr(&key), buf_cstr(&order));
    }
    return run_buf(run, &sql, NULL, err);
}

enum status stream_winners(struct run *run, struct err *err) {
    struct batch b = {0};
    enum status st = make_winners(run, &b, err);
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE OR REPLACE TEMP TABLE _new AS SELECT ");
    columns_of(&sql, run, "");
    buf_text(&sql, " FROM temp._won WHERE NOT cupel_gone_");
    return st == OK ? run_buf(run, &sql, NULL, err) : st;
}

/* Nothing to choose from and nothing to replace: the batch goes in as it is. */
static enum status append(struct run *run, struct batch *b, struct err *err) {
    BUF_SCOPE(sql);
    buf_printf(&sql, "INSERT INTO %s SELECT ", run->target);
    columns_of(&sql, run, "");
    buf_printf(&sql, ", %lld FROM temp._batch", (long long)run->version);
    run->result->inserted += b->rows;
    run->result->rows_out += b->rows;
    return b->rows ? run_buf(run, &sql, NULL, err) : OK;
}

enum status stream_note_ends(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    buf_printf(&sql, "INSERT INTO %s SELECT ", run->target_gone);
    columns_of(&sql, run, "");
    buf_printf(&sql, ", %lld FROM temp._won WHERE cupel_gone_", (long long)run->version);
    return run_buf(run, &sql, NULL, err);
}

static enum status replace_ends(struct run *run, struct err *err) {
    if (!model_keeps_ends(run->m)) return OK;
    BUF_SCOPE(sql);
    buf_printf(&sql, "DELETE FROM %s WHERE rowid IN (SELECT cupel_row_ FROM temp._old WHERE cupel_gone_)", run->target_gone);
    enum status st = run_buf(run, &sql, NULL, err);
    return st == OK ? stream_note_ends(run, err) : st;
}

/* Nothing to replace, and nobody who reads what changed: the winners go in. */
static enum status insert_winners(struct run *run, struct batch *b, struct err *err) {
    int64_t n = 0;
    enum status st = run_count(run, "SELECT count(*) AS n FROM temp._won WHERE NOT cupel_gone_", &n, err);
    BUF_SCOPE(sql);
    buf_printf(&sql, "INSERT INTO %s SELECT ", run->target);
    columns_of(&sql, run, "");
    buf_printf(&sql, ", %lld FROM temp._won WHERE NOT cupel_gone_", (long long)run->version);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    run->result->inserted += n;
    run->result->rows_out += n;
    run->result->superseded += b->rows - n;
    return st == OK && model_keeps_ends(run->m) ? stream_note_ends(run, err) : st;
}

/* Old rows against winners, by content: rows that came out the same stay where they are. */
static enum status replace_rows(struct run *run, struct batch *b, struct err *err) {
    bool beside = run->target_empty || run->target != run->m->table; /* the table is being rebuilt */
    enum status st = make_winners(run, b, err);
    if (st == OK && beside && !b->old_rows) return insert_winners(run, b, err);
    BUF_SCOPE(sql);
    BUF_SCOPE(columns);
    columns_of(&columns, run, "");
    const char *c = buf_cstr(&columns);
    if (!b->old_rows)
        buf_printf(&sql, "CREATE OR REPLACE TEMP TABLE _old AS SELECT %s, NULL::BIGINT AS cupel_row_, false AS cupel_gone_ FROM temp._batch WHERE false", c);
    if (st == OK && sql.n) st = run_buf(run, &sql, NULL, err);
    buf_printf(&sql, "CREATE OR REPLACE TEMP TABLE _new AS SELECT %s FROM temp._won WHERE NOT cupel_gone_", c);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    int64_t live_before = 0, live_after = 0;
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._old WHERE NOT cupel_gone_", &live_before, err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._new", &live_after, err);
    if (st == OK) st = diff_make_from(run, "temp._new", "SELECT * FROM temp._old WHERE NOT cupel_gone_", err);
    if (st == OK) st = diff_apply(run, err);
    if (st == OK) st = replace_ends(run, err);
    run->result->rows_out += live_after - live_before;
    run->result->superseded += b->rows - (live_after - live_before);
    return st;
}

static enum status write_batch(struct run *run, struct batch *b, struct err *err) {
    enum status st = run_expect_quarantine(run, "temp._batch", err);
    if (st == OK) st = count_batch(run, b, err);
    if (st == OK) st = note_times(run, err);
    if (st == OK) st = make_old(run, b, err);
    if (st != OK || !b->rows) return st;
    bool plain = !b->old_rows && !b->duplicates && !run->m->pub.deletes && !run->m->pub.emit.stream;
    return plain || !run->m->pub.key_n ? append(run, b, err) : replace_rows(run, b, err);
}

enum status stream_write(struct run *run, struct err *err) {
    struct batch b = {0};
    return write_batch(run, &b, err);
}

/* ---- a delta ---- */

static bool positions_same(const struct run *run) {
    for (size_t i = 0; i < run->inputs_n; i++) {
        if (!run->inputs[i].stored || !position_same(&run->inputs[i].from, &run->inputs[i].to)) return false;
    }
    return true;
}

static enum status write_positions(struct run *run, struct err *err) {
    enum status st = run_sql(run, "BEGIN", NULL, err);
    return st == OK ? run_commit(run, false, err) : st;
}

static enum status run_delta(struct run *run, struct err *err) {
    struct batch b = {0};
    int64_t rows_in = 0;
    const struct position *ends;
    bool more;
    enum status st = run_delta_ends(run, &ends, &more, err);
    if (st == OK) st = run_session(run, true, ends, err);
    if (st == OK) st = read_batch(run, &rows_in, err);
    if (st != OK || run->options->dry_run || (!rows_in && positions_same(run))) return st;
    run->more = more;
    /* What is left of one partition may have come before what was taken of another. */
    for (size_t i = 0; more && i < run->inputs_n; i++) run->inputs[i].to.received_us = run->inputs[i].from.received_us;
    run_take_version(run);
    if (!rows_in) return write_positions(run, err);
    st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = table_ensure(run, err);
    if (st == OK) st = write_batch(run, &b, err);
    bool changed = run->result->inserted || run->result->deleted || !run->exists;
    if (st == OK && changed) st = run_expect_table(run, "temp._batch", err);
    return st == OK ? run_commit(run, changed, err) : st;
}

/* ---- again: what was received in a stretch of time ---- */

static enum status begin_again(struct run *run, struct err *err) {
    struct position *ends = arena_new_array(run->arena, struct position, run->inputs_n + 1);
    for (size_t i = 0; i < run->inputs_n; i++) ends[i] = run->inputs[i].from; /* what is new is the next run's */
    enum status st = run_session(run, false, ends, err);
    if (st != OK) return st;
    return run_narrow_bronze(run,
        arena_printf(run->arena, "_received_at >= make_timestamptz(%lld) AND _received_at < make_timestamptz(%lld)", (long long)run->options->from_us,
            (long long)run->options->to_us),
        err);
}

/* Positions stay. */
static enum status run_again(struct run *run, struct err *err) {
    struct batch b = {0};
    int64_t rows_in = 0;
    enum status st = begin_again(run, err);
    for (size_t i = 0; i < run->inputs_n; i++) run->inputs[i].known = true; /* tables of models show what is new: nothing */
    if (st == OK) st = read_batch(run, &rows_in, err);
    for (size_t i = 0; i < run->inputs_n; i++) run->inputs[i].to = run->inputs[i].from;
    if (st != OK || run->options->dry_run || !rows_in) return st;
    run_take_version(run);
    st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = write_batch(run, &b, err);
    bool changed = run->result->inserted || run->result->deleted;
    if (st == OK && changed) st = run_expect_table(run, "temp._batch", err);
    return st == OK ? run_commit(run, changed, err) : st;
}

/* ---- rebuilds, in waves ---- */

static enum status make_next(struct run *run, struct err *err) {
    const struct model *m = run->m;
    BUF_SCOPE(sql);
    buf_printf(&sql, "BEGIN; DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s; CREATE SCHEMA IF NOT EXISTS warehouse.", m->next_table,
        m->next_gone, m->next_quarantine);
    sql_name(&sql, m->pub.schema);
    for (int gone = 0; gone < (model_keeps_ends(m) ? 2 : 1); gone++) {
        buf_printf(&sql, "; CREATE TABLE %s (", gone ? m->next_gone : m->next_table);
        for (size_t i = 0; i < m->pub.columns_n; i++) {
            sql_name(&sql, m->pub.columns[i].name);
            buf_printf(&sql, " %s, ", m->pub.columns[i].type);
        }
        buf_text(&sql, "_version BIGINT)");
    }
    buf_text(&sql, "; COMMIT");
    run->target = m->next_table;
    run->target_gone = m->next_gone;
    run->target_quarantine = m->next_quarantine;
    run->target_empty = true;
    return run_buf(run, &sql, NULL, err);
}

/* The next slice of every bronze input: about wave_rows in all, spread over partitions by what is left; files of landing tables stay whole. *more
 * false: nothing is left. */
static enum status next_wave(struct run *run, const struct position *ends, struct position *slice, bool *more, struct err *err) {
    uint64_t left = 0, wave = run->flow->wave_rows;
    enum status st = OK;
    for (size_t i = 0; i < run->inputs_n; i++) {
        for (uint16_t p = 0; p < ends[i].offsets_n; p++) left += ends[i].offsets[p] - run->inputs[i].from.offsets[p];
    }
    for (size_t i = 0; i < run->inputs_n; i++) {
        for (uint16_t p = 0; p < ends[i].offsets_n; p++) {
            uint64_t here = ends[i].offsets[p] - run->inputs[i].from.offsets[p];
            uint64_t share = left <= wave ? here : (uint64_t)((double)here / (double)left * (double)wave) + 1;
            slice[i].offsets[p] = run->inputs[i].from.offsets[p] + (share < here ? share : here);
        }
        const struct run_input *in = &run->inputs[i];
        if (st != OK || in->in->kind != FLOW_INPUT_LANDING || !ends[i].offsets_n) continue;
        st = landing_file_end(run->flow, in->table, &slice[i].offsets[0], err);
        if (slice[i].offsets[0] > ends[i].offsets[0]) slice[i].offsets[0] = ends[i].offsets[0];
    }
    *more = left > 0;
    return st;
}

static enum status one_wave(struct run *run, struct err *err) {
    struct batch b = {0};
    int64_t rows_in = 0;
    enum status st = read_batch(run, &rows_in, err);
    if (st != OK || !rows_in) return st;
    st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = write_batch(run, &b, err);
    if (st == OK) st = run_sql(run, "COMMIT", NULL, err);
    run->target_empty = false;
    return st;
}

static void begin_slices(struct run *run, struct position *ends, struct position *slice) {
    for (size_t i = 0; i < run->inputs_n; i++) {
        struct run_input *in = &run->inputs[i];
        ends[i] = in->to;
        if (!is_bronze(in) || in->in->lookup) ends[i].offsets_n = 0;
        slice[i] = (struct position){.offsets = arena_new_array(run->arena, uint64_t, ends[i].offsets_n + 1u), .offsets_n = ends[i].offsets_n};
        in->known = false; /* tables of models: all of them, with the first wave */
        if (!ends[i].offsets_n) continue;
        in->from = (struct position){.offsets = arena_new_array(run->arena, uint64_t, ends[i].offsets_n), .offsets_n = ends[i].offsets_n};
        in->known = true;
    }
}

/* A session of its own per wave, over the same pin. Tables of models are read with the first one. */
static enum status all_waves(struct run *run, struct position *ends, struct err *err) {
    struct position *slice = arena_new_array(run->arena, struct position, run->inputs_n + 1);
    begin_slices(run, ends, slice);
    bool more;
    enum status st = next_wave(run, ends, slice, &more, err);
    for (bool first = true; st == OK && (more || first); first = false) {
        engine_work_end(&run->work);
        run->views_made = false;
        st = run_session(run, true, slice, err);
        if (st == OK) st = one_wave(run, err);
        for (size_t i = 0; i < run->inputs_n; i++) {
            struct run_input *in = &run->inputs[i];
            for (uint16_t p = 0; p < slice[i].offsets_n; p++) in->from.offsets[p] = slice[i].offsets[p];
            if (in->model && !in->in->lookup) in->known = true, in->from.version = in->to.version;
        }
        if (st == OK) st = next_wave(run, ends, slice, &more, err);
    }
    return st;
}

static enum status take_quarantine(struct run *run, struct err *err) {
    if (!run->m->pub.suite) return OK;
    BUF_SCOPE(sql);
    expect_quarantine_ddl(run->m->quarantine_table, &sql);
    buf_text(&sql, "; ");
    expect_quarantine_ddl(run->m->next_quarantine, &sql);
    buf_printf(&sql, "; DELETE FROM %s; INSERT INTO %s SELECT * FROM %s; DROP TABLE %s", run->m->quarantine_table, run->m->quarantine_table,
        run->m->next_quarantine, run->m->next_quarantine);
    return run_buf(run, &sql, NULL, err);
}

static enum status put_in_place(struct run *run, struct err *err) {
    const struct model *m = run->m;
    BUF_SCOPE(sql);
    if (run->swap || !run->exists) {
        ARENA_SCOPE(arena);
        buf_printf(&sql, "DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s; ALTER TABLE %s RENAME TO ", m->table, m->old_table,
            m->gone_table, m->next_table);
        sql_name(&sql, m->pub.name);
        if (model_keeps_ends(m)) {
            buf_printf(&sql, "; ALTER TABLE %s RENAME TO ", m->next_gone);
            sql_name(&sql, arena_printf(arena, "%s__%s__gone", m->pub.schema, m->pub.name));
        }
        enum status st = run_buf(run, &sql, NULL, err);
        return st == OK ? table_ensure(run, err) : st;
    }
    /* Compared with what is there: only what really differs goes on to the readers. */
    run->result->inserted = run->result->deleted = 0;
    run->target = m->table;
    enum status st = diff_whole(run, m->next_table, err);
    if (model_keeps_ends(m))
        buf_printf(&sql, "DELETE FROM %s; INSERT INTO %s SELECT * FROM %s; DROP TABLE %s; ", m->gone_table, m->gone_table, m->next_gone, m->next_gone);
    buf_printf(&sql, "DROP TABLE %s", m->next_table);
    return st == OK ? run_buf(run, &sql, NULL, err) : st;
}

static enum status rebuild_in_waves(struct run *run, struct err *err) {
    struct position *ends = arena_new_array(run->arena, struct position, run->inputs_n + 1);
    run->result->rows_in = 0; /* counted wave by wave */
    run_take_version(run);
    enum status st = make_next(run, err);
    if (st == OK) st = all_waves(run, ends, err);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_expect_judge(run, err);
    if (st == OK) st = put_in_place(run, err);
    if (st == OK) st = take_quarantine(run, err);
    bool changed = run->swap || !run->exists || run->result->inserted || run->result->deleted;
    if (st == OK) st = run_expect_table(run, run->m->table, err);
    return st == OK ? run_commit(run, changed, err) : st;
}

/* ---- rebuilds that one wave is enough for ---- */

/* What a rebuild in waves left behind that did not come to its end. */
static enum status drop_next(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    buf_printf(
        &sql, "DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s", run->m->next_table, run->m->next_gone, run->m->next_quarantine);
    return run_buf(run, &sql, NULL, err);
}

/* won: there are winners, and so there may be ends. */
static enum status replace_all_ends(struct run *run, bool won, struct err *err) {
    if (!model_keeps_ends(run->m)) return OK;
    BUF_SCOPE(sql);
    buf_printf(&sql, "DELETE FROM %s", run->target_gone);
    enum status st = run_buf(run, &sql, NULL, err);
    return st == OK && won ? stream_note_ends(run, err) : st;
}

/* _batch against the table: only what really differs goes on to the readers. */
static enum status compare_batch(struct run *run, struct err *err) {
    struct batch b = {0};
    int64_t kept = 0;
    enum status st = run_expect_quarantine(run, "temp._batch", err);
    if (st == OK) st = count_batch(run, &b, err);
    if (st == OK) st = note_times(run, err);
    bool choose = run->m->pub.key_n && (b.duplicates || run->m->pub.deletes);
    if (st == OK && choose) st = make_winners(run, &b, err);
    BUF_SCOPE(rows);
    buf_text(&rows, "(SELECT ");
    columns_of(&rows, run, "");
    buf_text(&rows, choose ? " FROM temp._won WHERE NOT cupel_gone_)" : " FROM temp._batch)");
    if (st == OK) st = run_count(run, arena_printf(run->arena, "SELECT count(*) AS n FROM %s", buf_cstr(&rows)), &kept, err);
    if (st == OK) st = diff_whole(run, buf_cstr(&rows), err);
    run->result->rows_out += kept;
    run->result->superseded += b.rows - kept;
    return st == OK ? replace_all_ends(run, choose, err) : st;
}

/* By itself: while a transaction makes a schema no other one can, and this one's is long. */
static enum status make_schema(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE SCHEMA IF NOT EXISTS warehouse.");
    sql_name(&sql, run->m->pub.schema);
    return run_buf(run, &sql, NULL, err);
}

static enum status rebuild_at_once(struct run *run, struct err *err) {
    bool swap = run->swap || !run->exists;
    enum status st = stream_compute(run, run->result->rows_in, err);
    if (st == OK) st = run_sql(run, "COMMIT", NULL, err);
    if (st == OK) st = run_expect_rows(run, "temp._batch", err);
    if (st == OK && swap) st = make_schema(run, err);
    if (st != OK) return st;
    run_take_version(run);
    st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = drop_next(run, err);
    if (st == OK) st = swap ? table_replace(run, err) : table_ensure(run, err);
    run->target_empty = swap;
    if (st == OK) st = swap ? stream_write(run, err) : compare_batch(run, err);
    bool changed = swap || run->result->inserted || run->result->deleted;
    if (st == OK) st = run_expect_table(run, run->m->table, err);
    return st == OK ? run_commit(run, changed, err) : st;
}

/* ---- rebuilds ---- */

static enum status rebuild(struct run *run, struct err *err) {
    enum status st = run_session(run, false, NULL, err);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_read_versions(run, err);
    if (st == OK) st = run_bronze_ends(run, err);
    bool waves = run->result->rows_in > (int64_t)run->flow->wave_rows;
    if (st == OK && !waves) st = run_views(run, SHOW_ALL, NULL, err);
    if (st == OK && !waves) st = count_model_rows(run, err);
    if (st != OK || run->options->dry_run) return st;
    if (!waves && run->result->rows_in) return rebuild_at_once(run, err);
    st = run_sql(run, "COMMIT", NULL, err);
    return st == OK ? rebuild_in_waves(run, err) : st;
}

enum status run_stream(struct run *run, struct err *err) {
    must(run && run->m->pub.kind == FLOW_STREAM);
    bool models = false, done = false, again = run->options->from_us || run->options->to_us;
    if (again && !run->restate_all) return run_again(run, err);
    for (size_t i = 0; i < run->inputs_n; i++) models = models || (run->inputs[i].model && !run->inputs[i].in->lookup && run->inputs[i].moved);
    enum status st = models && !run->restate_all ? run_stream_keys(run, &done, err) : OK;
    if (st != OK || done) return st;
    return run->restate_all ? rebuild(run, err) : run_delta(run, err);
}
