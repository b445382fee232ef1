/* Where the feeds go: files renamed into landing folders, events over HTTP, or all of it into a folder. */
#include "base/assert.h"
#include "base/json.h"
#include "base/mem.h"
#include "sim.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

struct out {
    struct out_options options;
    CURL *curl;
    struct curl_slist *json_headers, *ndjson_headers;
    struct buf answer;
};

static enum status make_dirs(const char *path, struct err *err) {
    AUTO_FREE char *copy = mem_strdup(path);
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != 0) continue;
        char kept = *p;
        *p = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) return err_set_errno(err, errno, "making folder %s", copy);
        if (!kept) return OK;
        *p = kept;
    }
}

enum status out_open(const struct out_options *options, struct out **out, struct err *err) {
    must(options && options->dir && options->truth);
    struct out *o = mem_zalloc(sizeof *o);
    o->options = *options;
    if (options->url) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        o->curl = curl_easy_init();
        must(o->curl);
        AUTO_FREE char *authorization = mem_printf("Authorization: Bearer %s", options->token ? options->token : "");
        const char *types[2] = {"Content-Type: application/json", "Content-Type: application/x-ndjson"};
        for (int i = 0; i < 2; i++) {
            struct curl_slist *list = curl_slist_append(NULL, types[i]);
            list = curl_slist_append(list, "Expect:");
            if (options->token) list = curl_slist_append(list, authorization);
            *(i ? &o->ndjson_headers : &o->json_headers) = list;
        }
    }
    enum status st = make_dirs(options->dir, err);
    if (st != OK) {
        out_close(&o);
        return st;
    }
    *out = o;
    return OK;
}

void out_close(struct out **out) {
    struct out *o = *out;
    if (!o) return;
    curl_slist_free_all(o->json_headers);
    curl_slist_free_all(o->ndjson_headers);
    if (o->curl) curl_easy_cleanup(o->curl);
    buf_free(&o->answer);
    free(o);
    *out = NULL;
}

static enum status write_file(const char *path, const char *mode, struct str content, struct err *err) {
    FILE *file = fopen(path, mode);
    if (!file) return err_set_errno(err, errno, "opening %s", path);
    enum status st = fwrite(content.p, 1, content.n, file) == content.n ? OK : err_set_errno(err, errno, "writing %s", path);
    return fclose(file) == 0 || st != OK ? st : err_set_errno(err, errno, "writing %s", path);
}

enum status out_file(struct out *out, const char *feed, const char *name, struct str content, struct err *err) {
    AUTO_FREE char *folder = mem_printf("%s/landing/%s", out->options.dir, feed);
    AUTO_FREE char *beside = mem_printf("%s/landing/.%s.part", out->options.dir, name);
    AUTO_FREE char *path = mem_printf("%s/%s", folder, name);
    enum status st = make_dirs(folder, err);
    if (st == OK) st = write_file(beside, "wb", content, err);
    if (st == OK && rename(beside, path) != 0) st = err_set_errno(err, errno, "renaming %s", beside);
    return st;
}

static size_t take_answer(char *bytes, size_t size, size_t n, void *context) {
    struct out *o = context;
    buf_put(&o->answer, bytes, size * n);
    return o->answer.failed ? 0 : size * n;
}

/* One try. *code 0: no answer at all. */
static void request_once(struct out *o, const char *url, struct str body, struct curl_slist *headers, long *code) {
    buf_clear(&o->answer);
    o->answer.limit = 1 << 20;
    curl_easy_setopt(o->curl, CURLOPT_URL, url);
    curl_easy_setopt(o->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(o->curl, CURLOPT_POSTFIELDS, body.p);
    curl_easy_setopt(o->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    curl_easy_setopt(o->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(o->curl, CURLOPT_WRITEDATA, o);
    curl_easy_setopt(o->curl, CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(o->curl, CURLOPT_NOPROXY, "*");
    *code = 0;
    if (curl_easy_perform(o->curl) == CURLE_OK) curl_easy_getinfo(o->curl, CURLINFO_RESPONSE_CODE, code);
}

/* Tries until there is an answer other than 503. The server may be killed and come back meanwhile, perhaps at another address. */
static enum status request(struct out *o, const char *path, struct str body, struct curl_slist *headers, struct err *err) {
    long code = 0;
    for (int waited_ms = 0; waited_ms <= o->options.retry_s * 1000; waited_ms += 200) {
        AUTO_FREE char *url = mem_printf("%s%s", o->options.url, path);
        request_once(o, url, body, headers, &code);
        if (code != 0 && code != 503) break;
        o->options.truth->retried++;
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
    o->options.truth->requests++;
    if (code == 0 || code == 503) return err_set(err, E_UNAVAILABLE, "%s: no answer for %d s", path, o->options.retry_s);
    if (code < 400) return OK;
    o->options.truth->refused++;
    return err_set(err, code < 500 ? E_INVALID : E_INTERNAL, "%s: %ld " STR_FMT, path, code, STR_ARG(str_head(buf_view(&o->answer), 300)));
}

static uint64_t number_in(struct str json, const char *name) {
    struct str raw;
    uint64_t value = 0;
    return json_raw_at(json, str_of(name), &raw) && str_to_u64(raw, &value) ? value : 0;
}

static enum status append_to_file(struct out *out, const char *stream, struct str body, bool single, struct err *err) {
    AUTO_FREE char *path = mem_printf("%s/%s.ndjson", out->options.dir, stream);
    enum status st = write_file(path, "ab", body, err);
    return st != OK || !single ? st : write_file(path, "ab", STR("\n"), err);
}

enum status out_events(
    struct out *out, const char *stream, struct str body, bool single, uint64_t number, uint64_t *accepted, uint64_t *duplicates, struct err *err) {
    if (!out->curl) return append_to_file(out, stream, body, single, err);
    AUTO_FREE char *path = mem_printf("/v1/streams/%s", stream), *key = mem_printf("Idempotency-Key: sim-%llu", (unsigned long long)number);
    struct curl_slist first = {.data = key, .next = single ? out->json_headers : out->ndjson_headers};
    enum status st = request(out, path, body, number ? &first : first.next, err);
    if (st != OK) return st;
    *accepted = number_in(buf_view(&out->answer), "accepted");
    *duplicates = number_in(buf_view(&out->answer), "duplicates");
    return OK;
}

enum status out_hook(struct out *out, struct str body, struct err *err) {
    must(out->curl && out->options.hook && out->options.hook_secret);
    unsigned char mac[32];
    unsigned mac_n = sizeof mac;
    const char *secret = out->options.hook_secret;
    must(HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)body.p, body.n, mac, &mac_n) && mac_n == sizeof mac);
    BUF_SCOPE(signature);
    buf_text(&signature, "X-Hub-Signature-256: sha256=");
    buf_hex(&signature, str_make(mac, sizeof mac));
    AUTO_FREE char *path = mem_printf("/hooks/%s", out->options.hook), *header = mem_strdup(buf_cstr(&signature));
    struct curl_slist second = {.data = (char[]){"Content-Type: application/json"}}, first = {.data = header, .next = &second};
    return request(out, path, body, &first, err);
}
