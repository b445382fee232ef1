/* Embedded files: what tools/embed turned into arrays at build time. Static memory, never freed; any thread. */
#ifndef CUPEL_BASE_EMBEDDED_H
#define CUPEL_BASE_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
    const char *path; /* relative to the embedded folder: "models/silver/web_events.sql" */
    const unsigned char *bytes; /* with a NUL behind them, so that texts can be used as C strings */
    size_t n; /* without the NUL */
    const char *hash; /* hex, of the content: an entity tag */
};

#endif
