/* cupel-sim: days of a shop, as files in landing folders, events over HTTP and two APIs to poll. README.md says what is in the feeds. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/times.h"
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct options {
    const char *url, *token_file, *dir, *date, *summary, *delivery, *hook, *hook_secret;
    uint64_t days, seed, api_port, api_wait_s;
    double scale, speed, rate, api_share;
    bool clean;
    enum order order;
};

static const char usage[] =
    "usage: cupel-sim --dir PROJECT [--url URL --token-file FILE] [options]\n"
    "  --dir        project folder: files go to PROJECT/landing/pos and PROJECT/landing/inventory, tables to PROJECT/reference\n"
    "  --url        server that takes the events; without it they are written to PROJECT/<stream>.ndjson\n"
    "  --token-file file with the bearer token (the project's data/cli.token)\n"
    "  --days       how many days (1)    --seed  the world's number (1)    --date  the first day (2025-03-03)    --scale  of a day's volume (1)\n"
    "  --clean      no disorder: every row well formed, nothing sent twice\n"
    "  --delivery   in-order (default), shuffled (over all days), twice (each file and request), late (5% by up to 3 days), replay (one day once more)\n"
    "  --speed      60x: an hour in a minute; otherwise as fast as it goes    --rate  at most so many events per second\n"
    "  --api-port   serves /api/web-traffic/ and /api/customer-interaction/ there; a part of the events (--api-share, 0.05) is only to be fetched\n"
    "  --api-wait   seconds to wait at the end until all of them were (60)\n"
    "  --hook       webhook source that gets a part of the interactions, signed with --hook-secret\n"
    "  --truth      file that gets what was sent and what must become of it, as JSON (also --summary)\n";

static bool take_number(const char *text, uint64_t max, uint64_t *out) { return str_to_u64(str_of(text), out) && *out <= max; }

static bool take_factor(const char *text, double *out) {
    struct str s = str_of(text);
    if (s.n > 1 && s.p[s.n - 1] == 'x') s.n--;
    return str_to_double(s, out) && *out > 0 && *out < 1e9;
}

static bool take_order(const char *text, enum order *out) {
    static const char *const names[] = {"in-order", "shuffled", "twice", "late", "replay"};
    for (int i = 0; i < 5; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *out = (enum order)i;
        return true;
    }
    return false;
}

static bool take_text(struct options *o, const char *name, const char *value) {
    const struct {
        const char *name, **to;
    } texts[] = {{"--url", &o->url}, {"--token-file", &o->token_file}, {"--dir", &o->dir}, {"--date", &o->date}, {"--summary", &o->summary},
        {"--truth", &o->summary}, {"--hook", &o->hook}, {"--hook-secret", &o->hook_secret}, {"--delivery", &o->delivery}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) != 0) continue;
        *texts[i].to = value;
        return true;
    }
    return false;
}

static bool take(struct options *o, const char *name, const char *value) {
    if (take_text(o, name, value)) return true;
    if (strcmp(name, "--days") == 0) return take_number(value, 3650, &o->days) && o->days > 0;
    if (strcmp(name, "--seed") == 0) return take_number(value, UINT64_MAX, &o->seed);
    if (strcmp(name, "--api-port") == 0) return take_number(value, 65535, &o->api_port);
    if (strcmp(name, "--api-wait") == 0) return take_number(value, 86400, &o->api_wait_s);
    if (strcmp(name, "--scale") == 0) return take_factor(value, &o->scale) && o->scale >= 0.01 && o->scale <= 100;
    if (strcmp(name, "--speed") == 0) return take_factor(value, &o->speed);
    if (strcmp(name, "--rate") == 0) return take_factor(value, &o->rate);
    if (strcmp(name, "--api-share") == 0) return take_factor(value, &o->api_share) && o->api_share <= 1;
    return false;
}

/* false: wrong usage. */
static bool parse(int argc, char **argv, struct options *o) {
    *o = (struct options){.days = 1, .seed = 1, .date = "2025-03-03", .delivery = "in-order", .scale = 1, .api_share = 0.05, .api_wait_s = 60};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--clean") == 0) {
            o->clean = true;
            continue;
        }
        if (i + 1 >= argc || !take(o, argv[i], argv[i + 1])) return false;
        i++;
    }
    return o->dir != NULL && take_order(o->delivery, &o->order) && (!o->hook || (o->url && o->hook_secret));
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

/* Two bodies that cannot be taken: the answer must be a clear refusal. */
static enum status send_broken(struct out *out, struct truth *truth, struct err *err) {
    static const struct str bodies[] = {STR("{\"session_id\":\"s\",\"page\":\"/se\xE7il\"}"), STR("{\"session_id\":\"s\",\"page\":\"/cut")};
    for (int i = 0; i < 2; i++) {
        uint64_t accepted = 0, duplicates = 0;
        struct err said;
        enum status st = out_events(out, "web_traffic", bodies[i], true, 0, &accepted, &duplicates, &said);
        if (st == OK) return err_set(err, E_INTERNAL, "broken body %d was taken", i + 1);
        if (st != E_INVALID) return err_set(err, st, "%s", said.text);
        truth->refused_expected++;
        truth->dirt[DIRT_WEB_REFUSED]++;
    }
    return OK;
}

struct run {
    const struct options *options;
    struct world *world;
    struct out *out;
    struct api *api;
    struct delivery *delivery;
    struct truth *truth;
    struct lines sales;
};

static void date_of(int64_t day, char out[16]) {
    struct civil c = time_civil_ms(day * (DAY_US / 1000));
    snprintf(out, 16, "%04d-%02d-%02d", c.year % 10000, c.month % 100, c.day % 100);
}

static enum status run_day(struct run *run, int64_t number, struct err *err) {
    struct day day = {.world = run->world, .delivery = run->delivery, .truth = run->truth, .number = number};
    day.dirt = !run->options->clean;
    day.late = run->options->order == LATE;
    date_of(number, day.date);
    date_of(number - 1, day.yesterday);
    day_begin(&day);
    shop_day(&day, &run->sales);
    inventory_day(&day);
    pos_day(&day, &run->sales);
    web_day(&day);
    crm_day(&day);
    enum status st = delivery_until(run->delivery, (number + 1) * DAY_US, err);
    if (st == OK && day.dirt && run->options->url) st = send_broken(run->out, run->truth, err);
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

static void make_delivery(struct run *run, int64_t first_day) {
    const struct options *o = run->options;
    const struct delivery_options options = {
        .out = run->out,
        .api = run->api,
        .truth = run->truth,
        .seed = o->seed,
        .order = o->order,
        .dirt = !o->clean,
        .start_us = first_day * DAY_US,
        .end_us = (first_day + (int64_t)o->days) * DAY_US,
        .api_share = o->api_share,
        .hook_share = o->hook ? 0.02 : 0,
        .speed = o->speed,
        .rate = o->rate,
        .batch_max = o->days > 2 && o->speed == 0 && o->rate == 0 ? 1000 : 200,
    };
    run->delivery = delivery_new(&options);
}

static enum status run_days(struct run *run, int64_t first_day, struct err *err) {
    const struct options *o = run->options;
    enum status st = o->api_port ? api_open((uint16_t)o->api_port, o->seed, run->truth, &run->api, err) : OK;
    if (st != OK) return st;
    write_reference(run);
    make_delivery(run, first_day);
    for (uint64_t i = 0; i < o->days && st == OK; i++) st = run_day(run, first_day + (int64_t)i, err);
    if (st == OK) st = delivery_finish(run->delivery, err);
    if (st == OK && run->api && !api_drain(run->api, (int)o->api_wait_s))
        st = err_set(err, E_TIMEOUT, "not all events were fetched from the API within %d s", (int)o->api_wait_s);
    return st;
}

static enum status run_all(const struct options *o, struct truth *truth, struct err *err) {
    int64_t start_us = 0;
    if (!time_parse_us(str_of(o->date), &start_us) || strlen(o->date) != 10) return err_set(err, E_INVALID, "--date %s: not a day like 2025-03-03", o->date);
    BUF_SCOPE(token);
    enum status st = o->token_file ? read_token(o->token_file, &token, err) : OK;
    if (st != OK) return st;
    struct run run = {.options = o, .world = mem_zalloc(sizeof *run.world), .truth = truth};
    world_make(run.world, o->seed, o->scale);
    const struct out_options options = {
        .url = o->url, .token = token.n ? token.p : NULL, .dir = o->dir, .hook = o->hook, .hook_secret = o->hook_secret, .retry_s = 60, .truth = truth};
    st = out_open(&options, &run.out, err);
    if (st == OK) st = run_days(&run, start_us / DAY_US, err);
    delivery_free(&run.delivery);
    api_close(&run.api);
    out_close(&run.out);
    free(run.sales.at);
    world_free(run.world);
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
    const struct truth_place place = {.date = options.date, .delivery = options.delivery, .days = options.days, .seed = options.seed};
    truth_write(&truth, &place, &text);
    if (st == OK && options.summary) st = write_text(options.summary, buf_view(&text), &err);
    if (st != OK) {
        fprintf(stderr, "cupel-sim: %s\n", err.text);
        return status_exit_code(st);
    }
    if (!options.summary) fwrite(text.p, 1, text.n, stdout);
    return 0;
}
