/* File bytes: the content of one landing file from front to back, with gzip and zstd undone, in bounded memory.
 *
 * Compression is known by its magic number, not by the name: gzip (RFC 1952, several members in a row, zero padding behind the last) and zstd (RFC 8878,
 * several frames, skippable frames). One thread at a time. Every read error names the position in the file. */
#ifndef CUPEL_CONNECT_FILE_BYTES_H
#define CUPEL_CONNECT_FILE_BYTES_H

#include "base/err.h"
#include "host/host.h"

enum compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD };
const char *compression_name(enum compression compression); /* "none", "gzip", "zstd" */

struct file_bytes;

struct file_bytes_options {
    const struct host *host;
    const char *path;
    uint64_t bytes_max; /* after decompression; 0: no limit. Beyond it E_LIMIT: what a compression bomb meets */
    /* Sees every byte of the file as it stands on disk, once and in order (hashing). May be NULL. */
    void (*tap)(void *context, const void *bytes, size_t n);
    void *tap_context;
};

enum status file_bytes_open(const struct file_bytes_options *options, struct file_bytes **out, struct err *err);
void file_bytes_close(struct file_bytes **f); /* NULL is fine */
enum compression file_bytes_compression(const struct file_bytes *f);

/* Up to n decompressed bytes; *got 0 only at the end. E_CORRUPT: the compressed data is damaged or ends too early. */
enum status file_bytes_read(struct file_bytes *f, void *bytes, size_t n, size_t *got, struct err *err);

/* Reads the rest of the file past the tap without decompressing: after an error, so that the hash is of the whole file. */
enum status file_bytes_drain(struct file_bytes *f, struct err *err);

#endif
