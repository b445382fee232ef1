/* File scan: the one pass over a landing file that its plan is made from: hash, sizes, counts of line ends and commas, first invalid UTF-8, first bytes. */
#ifndef CUPEL_CONNECT_FILE_SCAN_H
#define CUPEL_CONNECT_FILE_SCAN_H

#include "base/arena.h"
#include "connect/file_bytes.h"

struct file_scan {
    char hash[65];
    uint64_t size_bytes, text_bytes;
    uint64_t lf, cr, commas;
    enum compression compression;
    struct str sample; /* first decompressed bytes, up to the size asked for */
    bool utf8; /* all of it is valid UTF-8 */
    uint64_t bad_line, bad_column; /* of the first byte that is not; from 1, column in bytes */
    unsigned char bad_byte;
    enum status damage; /* not OK: it cannot be decompressed; damage_text says why. The hash is of the whole file all the same */
    const char *damage_text;
};

enum status file_scan(
    const struct host *host, struct arena *arena, const char *path, size_t sample_bytes, uint64_t bytes_max, struct file_scan *out, struct err *err);

#endif
