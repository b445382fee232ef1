/* What was sent, and what must become of it, as JSON. */
#include "base/assert.h"
#include "base/json.h"
#include "sim.h"

static const struct {
    const char *feed, *title, *becomes, *what;
} kinds[DIRT_COUNT] = {
#define DIRT_ROW(name, feed, title, becomes, what) {feed, title, becomes, what},
    DIRT_KINDS(DIRT_ROW)
#undef DIRT_ROW
};

bool dirt_quarantines(enum dirt kind) {
    must(kind < DIRT_COUNT);
    return str_is(str_of(kinds[kind].becomes), "quarantined");
}

static void put_dirt(struct json_writer *w, const struct truth *t) {
    json_name(w, "dirt");
    json_begin_array(w);
    for (int i = DIRT_NONE + 1; i < DIRT_COUNT; i++) {
        json_begin_object(w);
        json_put_text(w, "feed", kinds[i].feed);
        json_put_text(w, "kind", kinds[i].title);
        json_put_int(w, "sent", (int64_t)t->dirt[i]);
        json_put_text(w, "becomes", kinds[i].becomes);
        if (kinds[i].what[0]) json_put_text(w, "what", kinds[i].what);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_table(struct json_writer *w, const char *table, uint64_t rows_in, uint64_t quarantined, uint64_t superseded) {
    json_name(w, table);
    json_begin_object(w);
    json_put_int(w, "rows_in", (int64_t)rows_in);
    json_put_int(w, "quarantined", (int64_t)quarantined);
    json_put_int(w, "superseded", (int64_t)superseded);
    json_put_int(w, "kept", (int64_t)(rows_in - quarantined - superseded));
    json_end_object(w);
}

/* Exact for delivery in order, each once; otherwise what is superseded depends on what came last. */
static void put_expected(struct json_writer *w, const struct truth *t) {
    json_name(w, "expected");
    json_begin_object(w);
    put_table(w, "silver.pos_sales", t->pos_rows, t->pos_quarantined, t->pos_superseded);
    put_table(w, "silver.inventory_levels", t->inventory_rows + t->inventory_events, t->inventory_quarantined, t->inventory_superseded);
    put_table(w, "silver.web_events", t->web_events, t->web_quarantined, 0);
    put_table(w, "silver.crm_interactions", t->crm_events, t->crm_quarantined, 0);
    json_end_object(w);
}

void truth_write(const struct truth *t, const struct truth_place *place, struct buf *out) {
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"pos_files", t->pos_files},
        {"pos_files_again", t->pos_files_again},
        {"pos_files_rejected", t->pos_files_rejected},
        {"pos_rows", t->pos_rows},
        {"pos_broken_rows", t->pos_broken_rows},
        {"inventory_files", t->inventory_files},
        {"inventory_rows", t->inventory_rows},
        {"inventory_events", t->inventory_events},
        {"web_events", t->web_events},
        {"web_duplicates", t->web_duplicates},
        {"crm_events", t->crm_events},
        {"crm_duplicates", t->crm_duplicates},
        {"polled", t->polled},
        {"hooked", t->hooked},
        {"requests", t->requests},
        {"refused", t->refused},
        {"refused_expected", t->refused_expected},
        {"retried", t->retried},
        {"api_requests", t->api_requests},
        {"api_errors", t->api_errors},
        {"lost_sales", t->lost_sales},
    };
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_text(&w, "date", place->date);
    json_put_int(&w, "days", (int64_t)place->days);
    json_put_int(&w, "seed", (int64_t)place->seed);
    json_put_text(&w, "delivery", place->delivery);
    json_put_int(&w, "pos_revenue_cents", t->pos_revenue_cents);
    json_put_int(&w, "pos_net_cents", t->pos_net_cents);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) json_put_int(&w, counts[i].name, (int64_t)counts[i].value);
    put_expected(&w, t);
    put_dirt(&w, t);
    json_end_object(&w);
    buf_char(out, '\n');
}
