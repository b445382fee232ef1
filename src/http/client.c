#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "host/thread.h"
#include "http/http_client.h"

#define PROBLEM_BYTES_MAX (1u << 20)
#define HEADERS_MAX 256

struct http_client {
    CURL *curl;
};

struct exchange {
    struct http_client *client;
    struct arena *arena;
    const struct http_call *call;
    struct buf body;
    struct str headers[HEADERS_MAX];
    size_t headers_n;
    struct err failed; /* by a call-back: wins over what curl says */
};

/* curl_global_init is not safe against itself. */
static void global_init(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

struct http_client *http_client_new(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    struct http_client *client = mem_zalloc(sizeof *client);
    client->curl = curl_easy_init();
    must(client->curl);
    return client;
}

void http_client_free(struct http_client **client) {
    if (!client || !*client) return;
    curl_easy_cleanup((*client)->curl);
    free(*client);
    *client = NULL;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *context) {
    struct exchange *x = context;
    long code = 0;
    n *= size;
    curl_easy_getinfo(x->client->curl, CURLINFO_RESPONSE_CODE, &code);
    if (x->call->write && code >= 200 && code < 300) return x->call->write(x->call->write_context, (struct str){bytes, n}, &x->failed) == OK ? n : 0;
    buf_put(&x->body, bytes, n);
    if (!x->body.failed) return n;
    err_set(&x->failed, E_LIMIT, "the answer has more than %zu bytes", x->body.limit);
    return 0;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *context) {
    struct exchange *x = context;
    struct str line = str_trim((struct str){bytes, size * n});
    if (str_starts(line, STR("HTTP/"))) x->headers_n = 0; /* a new head: behind 100 Continue */
    if (line.n && memchr(line.p, ':', line.n) && x->headers_n < HEADERS_MAX) x->headers[x->headers_n++] = arena_str(x->arena, line);
    return size * n;
}

static size_t on_read(char *bytes, size_t size, size_t n, void *context) {
    struct exchange *x = context;
    size_t got = 0;
    if (x->call->read(x->call->read_context, bytes, size * n, &got, &x->failed) != OK) return CURL_READFUNC_ABORT;
    return got;
}

static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    struct exchange *x = context;
    if (!x->call->cancelled || !x->call->cancelled(x->call->cancelled_context)) return 0;
    err_set(&x->failed, E_CANCELLED, "cancelled");
    return 1;
}

static void set_body(CURL *c, struct exchange *x, struct curl_slist **headers) {
    const struct http_call *call = x->call;
    if (call->read) {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(c, CURLOPT_READDATA, x);
        *headers = curl_slist_append(*headers, "Transfer-Encoding: chunked");
    } else if (call->body.p) {
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.n);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, call->body.p);
    } else if (call->method && strcmp(call->method, "HEAD") == 0) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    }
    *headers = curl_slist_append(*headers, "Expect:"); /* no round trip before the body */
    const char *method = call->method ? call->method : call->body.p || call->read ? "POST" : "GET";
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    if (call->body.p || call->read) return;
    if (strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) *headers = curl_slist_append(*headers, "Content-Length: 0");
}

static void set_limits(CURL *c, struct exchange *x) {
    const struct http_call *call = x->call;
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)(call->connect_ms ? call->connect_ms : 5000));
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)call->total_ms);
    if (call->stall_ms) {
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)((call->stall_ms + 999) / 1000));
    }
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, call->cancelled ? 0L : 1L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, x);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
}

static void set_target(CURL *c, const struct http_call *call) {
    curl_easy_setopt(c, CURLOPT_URL, call->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_NOPROXY, call->unix_path ? "*" : "127.0.0.1,localhost,::1");
    if (call->unix_path) curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, call->unix_path);
    if (call->ca_file) curl_easy_setopt(c, CURLOPT_CAINFO, call->ca_file);
    if (call->insecure) {
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static enum status explain(const struct exchange *x, CURLcode rc, const char *text, struct err *err) {
    if (x->failed.status != OK) {
        if (err) *err = x->failed;
        return x->failed.status;
    }
    const char *url = x->call->unix_path ? x->call->unix_path : x->call->url;
    if (!text[0]) text = curl_easy_strerror(rc);
    switch (rc) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST: return err_set(err, E_UNAVAILABLE, "%s: %s", url, text);
    case CURLE_OPERATION_TIMEDOUT: return err_set(err, E_TIMEOUT, "%s: %s", url, text);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL: return err_set(err, E_INVALID, "%s: %s", url, text);
    default: return err_set(err, E_IO, "%s: %s", url, text);
    }
}

static void fill_result(struct exchange *x, struct http_result *out) {
    long code = 0;
    curl_easy_getinfo(x->client->curl, CURLINFO_RESPONSE_CODE, &code);
    *out = (struct http_result){.code = (int)code, .headers_n = x->headers_n};
    out->headers = arena_new_array(x->arena, struct str, x->headers_n + 1);
    memcpy(out->headers, x->headers, x->headers_n * sizeof *out->headers);
    out->body = arena_str(x->arena, x->body.n ? buf_view(&x->body) : STR(""));
    out->content_type = http_result_header(out, "Content-Type");
}

enum status http_client_call(struct http_client *client, struct arena *arena, const struct http_call *call, struct http_result *out, struct err *err) {
    must(client && call && call->url && out);
    char text[CURL_ERROR_SIZE] = "";
    struct exchange x = {.client = client, .arena = arena, .call = call};
    struct curl_slist *headers = NULL;
    CURL *c = client->curl;
    x.body.limit = call->write ? PROBLEM_BYTES_MAX : call->answer_bytes_max ? call->answer_bytes_max : 64u << 20;
    curl_easy_reset(c); /* keeps the connections */
    for (size_t i = 0; i < call->headers_n; i++) headers = curl_slist_append(headers, call->headers[i]);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);
    set_target(c, call);
    set_limits(c, &x);
    set_body(c, &x, &headers);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    CURLcode rc = curl_easy_perform(c);
    enum status st = rc == CURLE_OK ? OK : explain(&x, rc, text, err);
    if (st == OK) fill_result(&x, out);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(headers);
    buf_free(&x.body);
    return st;
}

struct str http_result_header(const struct http_result *result, const char *name) {
    for (size_t i = 0; i < result->headers_n; i++) {
        struct str rest = result->headers[i], key = str_cut(&rest, ':');
        if (str_ieq(str_trim(key), str_of(name))) return str_trim(rest);
    }
    return STR_NULL;
}

void url_escape(struct buf *out, struct str text) {
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_' || c == '~') {
            buf_char(out, (char)c);
            continue;
        }
        buf_char(out, '%');
        buf_char(out, digits[c >> 4]);
        buf_char(out, digits[c & 15]);
    }
}
