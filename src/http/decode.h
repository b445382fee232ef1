/* Content-Encoding undone in memory, with a limit on what comes out: a bomb is refused after `limit` bytes, not after it has burst. */
#ifndef CUPEL_HTTP_DECODE_H
#define CUPEL_HTTP_DECODE_H

#include "base/err.h"
#include "base/str.h"

#define DECODE_WINDOW_LOG_MAX 23 /* zstd: frames that need a larger window than 8 MiB are refused (RFC 8878 section 3.1.1.1.2 advises this much) */

enum coding { CODING_NONE, CODING_GZIP, CODING_DEFLATE, CODING_ZSTD };

/* Reads a Content-Encoding header ("" and "identity" are CODING_NONE). E_MEDIA_TYPE: another one, or a list of several. */
enum status coding_parse(struct str header, enum coding *out, struct err *err);
/* Decodes all of `in` (several gzip members or zstd frames are joined). *out is malloc'ed with `slack` readable zero bytes behind it. E_LIMIT: more than
 * `limit` bytes; E_INVALID: damaged or cut off, named with the byte of the input. Any thread. */
enum status coding_decode(enum coding coding, struct str in, size_t limit, size_t slack, char **out, size_t *out_n, struct err *err);

#endif
