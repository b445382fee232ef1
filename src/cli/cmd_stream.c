/* cupel stream list|show|tail|add-partitions|delete: streams, seen through the event API that every program uses.
 *
 * `tail` reads each partition on its own and in order; across partitions there is no order to keep. With -f one partition is a long poll; several are asked in
 * turn five times a second, which costs less than a thread and a connection for each. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/event_id.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "host/signals.h"
#include "http/http_client.h"

static char *stream_path(struct cli *cli, const char *rest) {
    BUF_SCOPE(path);
    buf_text(&path, "/v1/streams/");
    url_escape(&path, str_of(cli->args[0]));
    buf_text(&path, rest);
    return arena_strdup(cli->arena, buf_cstr(&path));
}

/* ---- list, show ---- */

static json_int_t sum_of(json_t *partitions, const char *member) {
    json_int_t sum = 0;
    json_t *partition;
    size_t i;
    json_array_foreach(partitions, i, partition) sum += json_integer_value(json_object_get(partition, member));
    return sum;
}

static void print_streams(struct cli *cli, json_t *answer) {
    must(cli->command != NULL);
    static const struct column columns[] = {{"STREAM", "name", COLUMN_TEXT}, {"PARTITIONS", "partitions", COLUMN_NUMBER}, {"EVENTS", "events", COLUMN_NUMBER},
        {"NOT LANDED", "unlanded_records", COLUMN_NUMBER}, {"DUPLICATES", "duplicates", COLUMN_NUMBER}, {"KEY", "key", COLUMN_TEXT},
        {"DEDUPE", "dedupe", COLUMN_TEXT}};
    json_t *streams = json_object_get(answer, "streams"), *stream;
    size_t i;
    json_array_foreach(streams, i, stream) {
        json_t *partitions = json_object_get(stream, "state");
        json_object_set_new(stream, "events", json_integer(sum_of(partitions, "end_offset")));
        json_object_set_new(stream, "duplicates", json_integer(sum_of(partitions, "duplicates")));
    }
    print_rows(cli, streams, columns, sizeof columns / sizeof columns[0]);
}

static int list(struct cli *cli) { return reach_print(cli, &(struct ask){.path = "/v1/streams"}, print_streams); }

static void print_stream(struct cli *cli, json_t *answer) {
    must(cli->command != NULL);
    static const struct column columns[] = {{"PARTITION", "partition", COLUMN_NUMBER}, {"START", "start_offset", COLUMN_NUMBER},
        {"LANDED", "landed_offset", COLUMN_NUMBER}, {"END", "end_offset", COLUMN_NUMBER}, {"DUPLICATES", "duplicates", COLUMN_NUMBER},
        {"LAST RECEIVED", "last_received_at", COLUMN_TIME}};
    json_t *partitions = json_incref(json_object_get(answer, "state"));
    json_object_del(answer, "state");
    print_object(cli, answer);
    putchar('\n');
    print_rows(cli, partitions, columns, sizeof columns / sizeof columns[0]);
    json_decref(partitions);
}

static int show(struct cli *cli) { return reach_print(cli, &(struct ask){.path = stream_path(cli, "")}, print_stream); }

/* ---- tail ---- */

#define TAIL_PARTITIONS_MAX EVENT_PARTITIONS_MAX
#define TAIL_LIMIT 500

struct tail {
    struct cli *cli;
    struct reach *reach;
    uint64_t *offsets; /* per partition: next to read */
    size_t partitions;
    int64_t left; /* events still to show; -1: no limit */
    bool follow, only_payload;
};

static void print_event_line(struct tail *t, json_t *event) {
    must(t->reach != NULL && t->cli != NULL);
    json_t *payload = json_object_get(event, "payload");
    if (t->cli->json) {
        char *text = json_dumps(event, JSON_COMPACT);
        printf("%s\n", text);
        free(text);
        return;
    }
    if (!t->only_payload)
        printf("%s%s %s%s ", color_dim(t->cli), json_string_value(json_object_get(event, "_received_at")),
            json_string_value(json_object_get(event, "_event_id")), color_off(t->cli));
    if (!json_is_string(payload)) payload = json_object_get(event, "_body");
    print_payload(t->cli, str_make(json_string_value(payload), json_string_length(payload)));
    putchar('\n');
}

/* One read of one partition; *n events were shown. */
static enum status tail_partition(struct tail *t, size_t partition, int64_t wait_ms, size_t *n, struct err *err) {
    must(t->reach != NULL && t->cli != NULL);
    json_t *answer, *event;
    size_t i;
    char rest[160];
    int64_t limit = t->left >= 0 && t->left < TAIL_LIMIT ? t->left : TAIL_LIMIT;
    snprintf(
        rest, sizeof rest, "/events?partition=%zu&offset=%" PRIu64 "&limit=%" PRId64 "&wait=%" PRId64 "ms", partition, t->offsets[partition], limit, wait_ms);
    enum status status = reach_json(t->reach, &(struct ask){.path = stream_path(t->cli, rest), .interruptible = true}, &answer, err);
    if (status != OK) return status;
    json_t *events = json_object_get(answer, "events");
    *n = json_array_size(events);
    json_array_foreach(events, i, event) print_event_line(t, event);
    t->offsets[partition] = (uint64_t)json_integer_value(json_object_get(answer, "next_offset"));
    if (t->left > 0) t->left -= (int64_t)*n;
    json_decref(answer);
    fflush(stdout);
    return OK;
}

static enum status tail_begin(struct tail *t, int64_t last, struct err *err) {
    must(t->reach != NULL && t->cli != NULL);
    json_t *answer, *partition;
    size_t i;
    enum status status = reach_json(t->reach, &(struct ask){.path = stream_path(t->cli, "")}, &answer, err);
    if (status != OK) return status;
    json_t *partitions = json_object_get(answer, "state");
    t->partitions = json_array_size(partitions);
    t->offsets = arena_new_array(t->cli->arena, uint64_t, t->partitions + 1);
    json_array_foreach(partitions, i, partition) {
        json_int_t start = json_integer_value(json_object_get(partition, "start_offset")), end = json_integer_value(json_object_get(partition, "end_offset"));
        t->offsets[i] = (uint64_t)(last < 0 || end - start < last ? start : end - last);
    }
    json_decref(answer);
    return OK;
}

static enum status tail_run(struct tail *t, struct err *err) {
    must(t->reach != NULL && t->cli != NULL);
    while (!host_interrupted() && t->left != 0) {
        size_t shown = 0;
        for (size_t p = 0; p < t->partitions && t->left != 0; p++) {
            size_t n;
            int64_t wait_ms = t->follow && t->partitions == 1 ? 20000 : 0;
            enum status status = tail_partition(t, p, wait_ms, &n, err);
            if (status != OK) return status;
            shown += n;
        }
        if (shown == 0 && !t->follow) return OK;
        if (shown == 0 && t->partitions > 1) t->cli->host.clock->sleep_us(t->cli->host.clock->self, 200000);
    }
    return OK;
}

static int tail(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    int64_t last;
    struct tail t = {.cli = cli, .follow = cli_flag(cli, "follow"), .only_payload = cli_flag(cli, "payload"), .left = -1};
    if (cli_number(cli, "last", 10, 0, INT64_C(1) << 40, &last, &err) != OK) return cli_fail(&err);
    if (reach_open(cli, &(struct reach_options){0}, &t.reach, &err) != OK) return cli_fail(&err);
    host_interrupts_begin();
    enum status status = tail_begin(&t, cli_flag(cli, "all") ? -1 : last, &err);
    if (status == OK) status = tail_run(&t, &err);
    host_interrupts_end();
    reach_close(&t.reach);
    return status == OK || status == E_CANCELLED ? 0 : cli_failed(&err);
}

/* ---- administration ---- */

static int add_partitions(struct cli *cli) {
    uint64_t partitions;
    char body[64];
    if (!str_to_u64(str_of(cli->args[1]), &partitions) || partitions == 0 || partitions > EVENT_PARTITIONS_MAX)
        return cli_usage(cli, "'%s' is not a number of partitions from 1 to %d", cli->args[1], EVENT_PARTITIONS_MAX);
    int n = snprintf(body, sizeof body, "{\"partitions\":%" PRIu64 "}", partitions);
    return reach_print(cli, &(struct ask){.method = "POST", .path = stream_path(cli, "/partitions"), .body = str_make(body, (size_t)n)}, print_object);
}

static int delete_stream(struct cli *cli) {
    return reach_print(cli, &(struct ask){.method = "DELETE", .path = stream_path(cli, cli_flag(cli, "data") ? "?data=true" : "")}, print_object);
}

static const struct cli_option tail_options[] = {
    {.name = "last", .letter = 'n', .value = "N", .help = "begin with the last N of each partition (default 10)"},
    {.name = "all", .help = "begin with the oldest event that the log still has"},
    {.name = "follow", .letter = 'f', .help = "go on with what comes until Ctrl-C"},
    {.name = "payload", .letter = 'p', .help = "payloads only, without time and id"},
    {.name = NULL},
};

static const struct cli_option delete_options[] = {{.name = "data", .help = "delete its bronze table too"}, {.name = NULL}};

static const struct command commands[] = {
    {.verb = "list", .arguments = "", .summary = "all streams with their state", .examples = "cupel stream list", .run = list},
    {.verb = "show",
        .arguments = "STREAM",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "one stream and its partitions",
        .complete = COMPLETE_STREAM,
        .examples = "cupel stream show orders",
        .run = show},
    {.verb = "tail",
        .arguments = "STREAM",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "the newest events, and with -f what comes",
        .options = tail_options,
        .complete = COMPLETE_STREAM,
        .examples = "cupel stream tail orders -f\ncupel stream tail orders --all --payload > orders.ndjson",
        .run = tail},
    {.verb = "add-partitions",
        .arguments = "STREAM N",
        .arguments_min = 2,
        .arguments_max = 2,
        .summary = "give a stream N partitions in all",
        .description = "Partitions can be added while the stream is written and read, never taken away. A new epoch starts: a key may go to another partition "
                       "from here on, and consumers that "
                       "need its order finish the old epoch first.",
        .complete = COMPLETE_STREAM,
        .examples = "cupel stream add-partitions orders 4",
        .run = add_partitions},
    {.verb = "delete",
        .arguments = "STREAM",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "delete a stream that cupel.yaml no longer names",
        .description = "What is only in the log is written to the bronze table first, which then stays as it is. With --data the table goes too.",
        .options = delete_options,
        .complete = COMPLETE_STREAM,
        .examples = "cupel stream delete old_orders\ncupel stream delete test --data",
        .run = delete_stream},
};

const struct command_group cmd_stream = {
    .name = "stream", .summary = "streams: list, look into, grow, delete", .commands = commands, .commands_n = sizeof commands / sizeof commands[0]};
