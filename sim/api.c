/* The shop's two APIs, as connectors poll them: GET /api/web-traffic/ and /api/customer-interaction/ answer with one object or a list of objects. Now and then
 * they fail (500, 503 with Retry-After, a body that is cut off) or take their time.
 *
 * The caller acknowledges nothing, so every event is in two answers. One lock guards
 * everything; it is held by the HTTP server's thread and by the one that offers. */
#include "base/assert.h"
#include "base/mem.h"
#include "sim.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { ANSWER_MAX = 500 };

struct shelf {
    struct buf text;
    size_t *ends; /* of each event in the text */
    size_t n, cap;
    size_t once, handed; /* events before `once` were in two answers, [once, handed) in one, the rest in none */
};

struct api {
    pthread_mutex_t lock;
    struct MHD_Daemon *daemon;
    struct rng r;
    struct truth *truth;
    struct shelf shelves[API_FEEDS];
};

static size_t start_of(const struct shelf *s, size_t i) { return i == 0 ? 0 : s->ends[i - 1]; }

void api_offer(struct api *api, enum api_feed feed, struct str event) {
    must(feed < API_FEEDS && event.n > 0);
    pthread_mutex_lock(&api->lock);
    struct shelf *s = &api->shelves[feed];
    buf_str(&s->text, event);
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 1024;
        s->ends = mem_realloc(s->ends, s->cap * sizeof *s->ends);
    }
    s->ends[s->n++] = s->text.n;
    pthread_mutex_unlock(&api->lock);
}

/* What was in one answer only, and the next events; or the next ones alone, and what was left out is repeated later. One event alone is an object. */
static void hand_out(struct shelf *s, struct rng *r, struct buf *out) {
    size_t more = rng_chance(r, 0.2) ? 1 : ANSWER_MAX;
    bool only_new = s->handed < s->n && rng_chance(r, 0.5);
    size_t from = only_new ? s->handed : s->once, to = s->handed + more < s->n ? s->handed + more : s->n;
    bool list = to - from != 1;
    if (list) buf_char(out, '[');
    for (size_t i = from; i < to; i++) {
        if (i > from) buf_char(out, ',');
        buf_put(out, s->text.p + start_of(s, i), s->ends[i] - start_of(s, i));
    }
    if (list) buf_char(out, ']');
    if (!only_new) s->once = s->handed;
    s->handed = to;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, struct buf *body) {
    struct MHD_Response *response = MHD_create_response_from_buffer(body->n, (char *)buf_cstr(body), MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(response, "Content-Type", "application/json");
    if (code == 503) MHD_add_response_header(response, "Retry-After", "1");
    enum MHD_Result queued = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return queued;
}

static unsigned make_answer(struct api *api, enum api_feed feed, struct buf *body, int64_t *wait_ms) {
    double luck = rng_unit(&api->r);
    api->truth->api_requests++;
    if (luck < 0.05) {
        api->truth->api_errors++;
        buf_text(body, "{\"error\":\"please try again\"}");
        return luck < 0.025 ? 500 : 503;
    }
    if (luck < 0.07) {
        api->truth->api_errors++;
        buf_text(body, "[{\"session_id\":\"cut");
        return 200;
    }
    if (luck < 0.10) *wait_ms = 300 + rng_below(&api->r, 700);
    hand_out(&api->shelves[feed], &api->r, body);
    return 200;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
    const char *upload, size_t *upload_n, void **state) {
    static int seen;
    struct api *api = context;
    (void)version;
    (void)upload;
    if (!*state) { /* the head alone: the answer is given at the second call */
        *state = &seen;
        return MHD_YES;
    }
    *upload_n = 0;
    BUF_SCOPE(body);
    bool web = strcmp(url, "/api/web-traffic/") == 0, crm = strcmp(url, "/api/customer-interaction/") == 0;
    unsigned code = !web && !crm ? 404 : 405;
    int64_t wait_ms = 0;
    if ((web || crm) && strcmp(method, "GET") == 0) {
        pthread_mutex_lock(&api->lock);
        code = make_answer(api, web ? API_WEB : API_CRM, &body, &wait_ms);
        pthread_mutex_unlock(&api->lock);
    }
    if (wait_ms) nanosleep(&(struct timespec){.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000}, NULL);
    return answer(connection, code, &body);
}

enum status api_open(uint16_t port, uint64_t seed, struct truth *truth, struct api **out, struct err *err) {
    struct api *api = mem_zalloc(sizeof *api);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    pthread_mutex_init(&api->lock, NULL);
    api->truth = truth;
    api->r = rng_make(seed, "api", 0);
    api->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, port, NULL, NULL, on_request, api, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_END);
    if (!api->daemon) {
        pthread_mutex_destroy(&api->lock);
        free(api);
        return err_set(err, E_UNAVAILABLE, "cannot listen on 127.0.0.1:%u", port);
    }
    *out = api;
    return OK;
}

void api_close(struct api **api) {
    if (!*api) return;
    MHD_stop_daemon((*api)->daemon);
    for (int i = 0; i < API_FEEDS; i++) {
        buf_free(&(*api)->shelves[i].text);
        free((*api)->shelves[i].ends);
    }
    pthread_mutex_destroy(&(*api)->lock);
    free(*api);
    *api = NULL;
}

/* Everything was in two answers. */
static bool empty(struct api *api) {
    pthread_mutex_lock(&api->lock);
    bool all = true;
    for (int i = 0; i < API_FEEDS; i++) all = all && api->shelves[i].once == api->shelves[i].n;
    pthread_mutex_unlock(&api->lock);
    return all;
}

bool api_drain(struct api *api, int wait_s) {
    for (int waited_ms = 0; !empty(api); waited_ms += 50) {
        if (waited_ms > wait_s * 1000) return false;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return true;
}
