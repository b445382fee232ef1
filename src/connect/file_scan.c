#include "connect/file_scan.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/assert.h"
#include "base/mem.h"
#include "connect/encoding.h"

#define PIECE (256u << 10)
#define CARRY 4 /* an incomplete character waits in front of the next piece */

struct scan {
    EVP_MD_CTX *digest;
    struct file_scan result;
    struct arena *arena;
    size_t sample_max, carried;
    uint64_t lines; /* line ends so far */
    uint64_t line_start; /* decompressed position behind the last one */
    bool last_was_cr;
    char *sample;
};

static void tap(void *context, const void *bytes, size_t n) {
    struct scan *s = context;
    must(EVP_DigestUpdate(s->digest, bytes, n) == 1);
    s->result.size_bytes += n;
}

struct counts {
    uint64_t lf, cr, commas, pairs; /* pairs: LF right behind CR */
};

#ifdef __SSE2__
/* Bytes equal to c among n (at most 255 times 16), 16 at a time. */
static uint64_t count_byte(const unsigned char *p, size_t n, char c) {
    __m128i wanted = _mm_set1_epi8(c), sum = _mm_setzero_si128();
    size_t at = 0;
    for (; at + 16 <= n; at += 16) sum = _mm_sub_epi8(sum, _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(p + at)), wanted));
    __m128i halves = _mm_sad_epu8(sum, _mm_setzero_si128());
    uint64_t total = (uint64_t)_mm_cvtsi128_si64(halves) + (uint64_t)_mm_cvtsi128_si64(_mm_srli_si128(halves, 8));
    for (; at < n; at++) total += p[at] == (unsigned char)c;
    return total;
}
#else
static uint64_t count_byte(const unsigned char *p, size_t n, char c) {
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += p[i] == (unsigned char)c;
    return total;
}
#endif

#define COUNT_BLOCK 2048 /* stays in the first cache over three counts */

static struct counts count(const unsigned char *p, size_t n, bool after_cr) {
    struct counts total = {0};
    if (n && after_cr && p[0] == '\n') total.pairs++;
    for (size_t at = 0; at < n;) {
        size_t block = n - at < COUNT_BLOCK ? n - at : COUNT_BLOCK;
        uint64_t cr = count_byte(p + at, block, '\r');
        for (size_t i = 0; cr && i < block; i++) total.pairs += p[at + i] == '\r' && at + i + 1 < n && p[at + i + 1] == '\n';
        total.cr += cr;
        total.lf += count_byte(p + at, block, '\n');
        total.commas += count_byte(p + at, block, ',');
        at += block;
    }
    return total;
}

static const char *last_line_end(const char *p, size_t n) {
    const char *lf = memrchr(p, '\n', n), *cr = memrchr(p, '\r', n);
    return lf > cr || !cr ? lf : cr;
}

static void note_bad_byte(struct scan *s, const char *piece, size_t n, size_t at, uint64_t piece_start) {
    struct counts before = count((const unsigned char *)piece, at, s->last_was_cr);
    const char *line_end = last_line_end(piece, at);
    uint64_t start = line_end ? piece_start + (size_t)(line_end - piece) + 1 : s->line_start;
    must(at < n);
    s->result.utf8 = false;
    s->result.bad_byte = (unsigned char)piece[at];
    s->result.bad_line = s->lines + before.lf + before.cr - before.pairs + 1;
    s->result.bad_column = piece_start + at - start + 1;
}

/* piece: n new bytes with `carried` older ones in front of them. */
static void check_utf8(struct scan *s, char *piece, size_t n, uint64_t piece_start, bool end) {
    const char *from = piece - s->carried;
    size_t total = n + s->carried, valid = utf8_valid_prefix(from, total), rest = total - valid;
    if (rest && (end || !utf8_may_continue(from + valid, rest))) {
        /* In carried bytes the place is just before this piece; those are no line ends, so the line is right. */
        if (valid >= s->carried)
            note_bad_byte(s, piece, n, valid - s->carried, piece_start);
        else {
            s->result.utf8 = false;
            s->result.bad_byte = (unsigned char)from[valid];
            s->result.bad_line = s->lines + 1;
            s->result.bad_column = piece_start - s->carried + valid - s->line_start + 1;
        }
        return;
    }
    s->carried = rest;
}

static void scan_piece(struct scan *s, char *piece, size_t n) {
    uint64_t piece_start = s->result.text_bytes;
    if (s->result.sample.n < s->sample_max) {
        size_t more = s->sample_max - s->result.sample.n < n ? s->sample_max - s->result.sample.n : n;
        memcpy(s->sample + s->result.sample.n, piece, more);
        s->result.sample.n += more;
    }
    if (s->result.utf8) check_utf8(s, piece, n, piece_start, false);
    struct counts c = count((const unsigned char *)piece, n, s->last_was_cr);
    s->result.lf += c.lf;
    s->result.cr += c.cr;
    s->result.commas += c.commas;
    s->lines += c.lf + c.cr - c.pairs;
    const char *line_end = last_line_end(piece, n);
    if (line_end) s->line_start = piece_start + (size_t)(line_end - piece) + 1;
    s->last_was_cr = piece[n - 1] == '\r';
    s->result.text_bytes += n;
}

static enum status scan_pieces(struct scan *s, struct file_bytes *file, struct err *err) {
    AUTO_FREE char *memory = mem_alloc(CARRY + PIECE);
    char *piece = memory + CARRY;
    struct err problem = {0};
    for (;;) {
        size_t got;
        enum status st = file_bytes_read(file, piece, PIECE, &got, &problem);
        if (st == E_CORRUPT || st == E_LIMIT) {
            s->result.damage = st;
            s->result.damage_text = arena_strdup(s->arena, problem.text);
            return file_bytes_drain(file, err);
        }
        if (st != OK) return err_set(err, st, "%s", problem.text);
        if (got == 0) break;
        scan_piece(s, piece, got);
        if (s->result.utf8 && s->carried) memcpy(piece - s->carried, piece + got - s->carried, s->carried);
    }
    if (s->result.utf8 && s->carried) check_utf8(s, piece, 0, s->result.text_bytes, true);
    return OK;
}

enum status file_scan(
    const struct host *host, struct arena *arena, const char *path, size_t sample_bytes, uint64_t bytes_max, struct file_scan *out, struct err *err) {
    must(sample_bytes > 0);
    struct scan s = {.arena = arena, .sample_max = sample_bytes, .result = {.utf8 = true}};
    s.digest = EVP_MD_CTX_new();
    must(s.digest && EVP_DigestInit_ex(s.digest, EVP_sha256(), NULL) == 1);
    s.sample = arena_alloc(arena, sample_bytes);
    s.result.sample.p = s.sample;
    struct file_bytes *file = NULL;
    struct file_bytes_options options = {.host = host, .path = path, .bytes_max = bytes_max, .tap = tap, .tap_context = &s};
    enum status st = file_bytes_open(&options, &file, err);
    if (st == OK) {
        s.result.compression = file_bytes_compression(file);
        st = scan_pieces(&s, file, err);
    }
    file_bytes_close(&file);
    unsigned char digest[32];
    must(EVP_DigestFinal_ex(s.digest, digest, NULL) == 1);
    EVP_MD_CTX_free(s.digest);
    if (st != OK) return st;
    for (size_t i = 0; i < sizeof digest; i++) {
        s.result.hash[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        s.result.hash[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    *out = s.result;
    return OK;
}
