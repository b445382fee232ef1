/* cupel-sim: a day (or more) of a shop, as files in landing folders and events over HTTP. README.md says what is in the feeds. */
#include "base/assert.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/times.h"
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct options {
    const char *url, *token_file, *dir, *date, *summary;
    uint64_t days, seed;
    bool clean;
};

static const char usage[] =
    "usage: cupel-sim --dir PROJECT [--url URL --token-file FILE] [--days N] [--seed N] [--date YYYY-MM-DD] [--clean] [--summary FILE]\n"
    "  --dir        project folder: files go to PROJECT/landing/pos and PROJECT/landing/inventory, tables to PROJECT/reference\n"
    "  --url        server that takes the events; without it they are written to PROJECT/<stream>.ndjson\n"
    "  --token-file file with the bearer token (the project's data/cli.token)\n"
    "  --days       how many days (1)    --seed  the world's number (1)    --date  the first day (2025-03-03)\n"
    "  --clean      no disorder: every row well formed, nothing sent twice\n"
    "  --summary    file that gets what was sent, as JSON\n";

static bool take_number(const char *text, uint64_t max, uint64_t *out) { return str_to_u64(str_of(text), out) && *out <= max; }

/* false: wrong usage. */
static bool parse(int argc, char **argv, struct options *o) {
    *o = (struct options){.days = 1, .seed = 1, .date = "2025-03-03"};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--clean") == 0) {
            o->clean = true;
            continue;
        }
        if (i + 1 >= argc) return false;
        const char *value = argv[++i];
        bool ok = true;
        if (strcmp(name, "--url") == 0)
            o->url = value;
        else if (strcmp(name, "--token-file") == 0)
            o->token_file = value;
        else if (strcmp(name, "--dir") == 0)
            o->dir = value;
        else if (strcmp(name, "--date") == 0)
            o->date = value;
        else if (strcmp(name, "--summary") == 0)
            o->summary = value;
        else if (strcmp(name, "--days") == 0)
            ok = take_number(value, 3650, &o->days) && o->days > 0;
        else if (strcmp(name, "--seed") == 0)
            ok = take_number(value, UINT64_MAX, &o->seed);
        else
            ok = false;
        if (!ok) return false;
    }
    return o->dir != NULL;
}

static enum status read_token(const char *path, struct buf *out, struct err *err) {
    FILE *file = fopen(path, "rb");
    if (!file) return err_set_errno(err, errno, "opening %s", path);
    char bytes[1024];
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    buf_str(out, str_trim(str_make(bytes, n)));
    buf_cstr(out);
    return OK;
}

/* Sends the events of `feed` before `until_us` in requests of mixed sizes; with dirt some requests twice and some event by event. */
struct sender {
    struct out *out;
    const char *stream;
    size_t at;
    uint64_t accepted, duplicates;
    bool dirt;
};

static enum status send_some(struct sender *s, const struct feed *feed, size_t from, size_t to, struct err *err) {
    BUF_SCOPE(body);
    for (size_t i = from; i < to; i++) {
        buf_put(&body, feed->text.p + feed->events[i].start, feed->events[i].n);
        if (to - from > 1) buf_char(&body, '\n');
    }
    uint64_t accepted = 0, duplicates = 0;
    enum status st = out_events(s->out, s->stream, buf_view(&body), to - from == 1, &accepted, &duplicates, err);
    s->accepted += accepted;
    s->duplicates += duplicates;
    return st;
}

static enum status send_until(struct sender *s, const struct feed *feed, int64_t until_us, struct rng *r, struct err *err) {
    size_t end = s->at;
    while (end < feed->n && feed->events[end].at_us < until_us) end++;
    enum status st = OK;
    while (s->at < end && st == OK) {
        size_t n = rng_chance(r, 0.2) ? 1 : 1 + rng_below(r, 200);
        if (n > end - s->at) n = end - s->at;
        bool twice = s->dirt && rng_chance(r, 0.03); /* the sender did not see the answer */
        st = send_some(s, feed, s->at, s->at + n, err);
        if (st == OK && twice) st = send_some(s, feed, s->at, s->at + n, err);
        s->at += n;
    }
    return st;
}

/* Two bodies that cannot be taken: the answer must be a clear refusal. */
static enum status send_broken(struct out *out, struct truth *truth, struct err *err) {
    static const struct str bodies[] = {STR("{\"session_id\":\"s\",\"page\":\"/se\xE7il\"}"), STR("{\"session_id\":\"s\",\"page\":\"/cut")};
    for (int i = 0; i < 2; i++) {
        uint64_t accepted = 0, duplicates = 0;
        struct err said;
        enum status st = out_events(out, "web_traffic", bodies[i], true, &accepted, &duplicates, &said);
        if (st == OK) return err_set(err, E_INTERNAL, "broken body %d was taken", i + 1);
        if (st != E_INVALID) return err_set(err, st, "%s", said.text);
        truth->refused_expected++;
    }
    return OK;
}

struct run {
    const struct options *options;
    struct world *world;
    struct out *out;
    struct truth *truth;
    struct feed web, crm, pushes;
};

static void count_feed(const struct sender *s, const struct feed *feed, uint64_t *events, uint64_t *duplicates) {
    *events += feed->n;
    *duplicates += s->duplicates;
}

static enum status run_day(struct run *run, const struct day *day, struct err *err) {
    feed_clear(&run->web);
    feed_clear(&run->crm);
    feed_clear(&run->pushes);
    pos_plan(day);
    web_day(day, &run->web);
    crm_day(day, &run->crm);
    struct rng r = rng_make(run->world->seed, "send", day->number);
    struct sender web = {.out = run->out, .stream = "web_traffic", .dirt = day->dirt}, crm = {.out = run->out, .stream = "crm_interactions", .dirt = day->dirt};
    struct sender stock = {.out = run->out, .stream = "inventory"};
    enum status st = OK;
    for (int hour = 0; hour < HOURS && st == OK; hour++) {
        int64_t until_us = hour == HOURS - 1 ? INT64_MAX : day->number * DAY_US + (hour + 1) * HOUR_US;
        st = send_until(&web, &run->web, until_us, &r, err);
        if (st == OK) st = send_until(&crm, &run->crm, until_us, &r, err);
        if (st == OK) st = inventory_hour(day, hour, run->out, &run->pushes, run->truth, err);
        if (st == OK) st = send_until(&stock, &run->pushes, INT64_MAX, &r, err);
    }
    if (st == OK) st = pos_day(day, run->out, run->truth, err);
    if (st == OK && day->dirt && run->options->url) st = send_broken(run->out, run->truth, err);
    uint64_t none = 0;
    count_feed(&web, &run->web, &run->truth->web_events, &run->truth->web_duplicates);
    count_feed(&crm, &run->crm, &run->truth->crm_events, &run->truth->crm_duplicates);
    count_feed(&stock, &run->pushes, &run->truth->inventory_events, &none);
    return st;
}

static enum status write_text(const char *path, struct str content, struct err *err) {
    FILE *file = fopen(path, "wb");
    if (!file) return err_set_errno(err, errno, "opening %s", path);
    bool ok = fwrite(content.p, 1, content.n, file) == content.n;
    return fclose(file) == 0 && ok ? OK : err_set_errno(err, errno, "writing %s", path);
}

/* reference/<name>.csv, where the folder is there. */
static void write_reference(const struct run *run) {
    BUF_SCOPE(stores);
    BUF_SCOPE(products);
    BUF_SCOPE(categories);
    world_reference(run->world, &stores, &products, &categories);
    const struct {
        const char *name;
        const struct buf *text;
    } files[] = {{"stores", &stores}, {"products", &products}, {"page_categories", &categories}};
    for (int i = 0; i < 3; i++) {
        AUTO_FREE char *path = mem_printf("%s/reference/%s.csv", run->options->dir, files[i].name);
        struct err ignored; /* a project without the folder does not want them */
        write_text(path, buf_view(files[i].text), &ignored);
    }
}

static void summary(const struct options *o, const struct truth *t, struct buf *out) {
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_text(&w, "date", o->date);
    json_put_int(&w, "days", (int64_t)o->days);
    json_put_int(&w, "seed", (int64_t)o->seed);
    json_put_int(&w, "pos_files", (int64_t)t->pos_files);
    json_put_int(&w, "pos_files_again", (int64_t)t->pos_files_again);
    json_put_int(&w, "pos_rows", (int64_t)t->pos_rows);
    json_put_int(&w, "pos_broken_rows", (int64_t)t->pos_broken_rows);
    json_put_int(&w, "pos_revenue_cents", t->pos_revenue_cents);
    json_put_int(&w, "inventory_files", (int64_t)t->inventory_files);
    json_put_int(&w, "inventory_rows", (int64_t)t->inventory_rows);
    json_put_int(&w, "inventory_events", (int64_t)t->inventory_events);
    json_put_int(&w, "web_events", (int64_t)t->web_events);
    json_put_int(&w, "web_duplicates", (int64_t)t->web_duplicates);
    json_put_int(&w, "crm_events", (int64_t)t->crm_events);
    json_put_int(&w, "crm_duplicates", (int64_t)t->crm_duplicates);
    json_put_int(&w, "requests", (int64_t)t->requests);
    json_put_int(&w, "refused", (int64_t)t->refused);
    json_put_int(&w, "refused_expected", (int64_t)t->refused_expected);
    json_put_int(&w, "retried", (int64_t)t->retried);
    json_end_object(&w);
    buf_char(out, '\n');
}

static enum status run_all(const struct options *o, struct truth *truth, struct err *err) {
    int64_t start_us = 0;
    if (!time_parse_us(str_of(o->date), &start_us) || strlen(o->date) != 10) return err_set(err, E_INVALID, "--date %s: not a day like 2025-03-03", o->date);
    BUF_SCOPE(token);
    enum status st = o->token_file ? read_token(o->token_file, &token, err) : OK;
    if (st != OK) return st;
    struct run run = {.options = o, .world = mem_zalloc(sizeof *run.world), .truth = truth};
    world_make(run.world, o->seed);
    const struct out_options options = {.url = o->url, .token = token.n ? token.p : NULL, .dir = o->dir, .retry_s = 60, .truth = truth};
    st = out_open(&options, &run.out, err);
    if (st == OK) write_reference(&run);
    for (uint64_t i = 0; i < o->days && st == OK; i++) {
        struct day day = {.world = run.world, .number = start_us / DAY_US + (int64_t)i, .dirt = !o->clean};
        struct civil c = time_civil_ms(day.number * (DAY_US / 1000));
        snprintf(day.date, sizeof day.date, "%04d-%02d-%02d", c.year % 10000, c.month % 100, c.day % 100);
        st = run_day(&run, &day, err);
    }
    out_close(&run.out);
    feed_free(&run.web);
    feed_free(&run.crm);
    feed_free(&run.pushes);
    free(run.world);
    return st;
}

int main(int argc, char **argv) {
    struct options options;
    if (!parse(argc, argv, &options)) {
        fputs(usage, stderr);
        return 2;
    }
    struct err err;
    struct truth truth = {0};
    enum status st = run_all(&options, &truth, &err);
    BUF_SCOPE(text);
    summary(&options, &truth, &text);
    if (st == OK && options.summary) st = write_text(options.summary, buf_view(&text), &err);
    if (st != OK) {
        fprintf(stderr, "cupel-sim: %s\n", err.text);
        return status_exit_code(st);
    }
    if (!options.summary) fwrite(text.p, 1, text.n, stdout);
    return 0;
}
