/* Metrics registry. Every metric is declared once with its meaning; /metrics and docs/metrics.md are made from the declarations.
 *
 * A series is one metric with one set of label values. Look the series up once (takes a lock), keep the pointer, update it from any thread
 * without a lock. Series live as long as the process. */
#ifndef CUPEL_BASE_METRICS_H
#define CUPEL_BASE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric {
    const char *name; /* "cupel_http_requests_total": unit last, _total for counters */
    const char *help; /* one sentence */
    enum metric_kind kind;
    const char *labels; /* comma-separated label names, "" for none */
    /* private */
    struct metric *next;
    struct series *series;
    int registered;
};

struct series;

/* The series for these label values (as many as the metric has labels, strings). */
struct series *metric_series(struct metric *metric, ...);
void series_add(struct series *series, int64_t n); /* counters, gauges */
void series_set(struct series *series, int64_t value); /* gauges */
void series_observe(struct series *series, double seconds); /* histograms: log-spaced buckets from 50 us to 100 s */
int64_t series_value(const struct series *series);
double series_quantile(const struct series *series, double q); /* histograms: seconds, by bucket interpolation */

/* Declares a metric so that it is listed even before its first series. */
void metric_register(struct metric *metric);
/* Prometheus text exposition format 0.0.4 of all registered metrics. */
void metrics_write(struct buf *out);
void metrics_each(void (*f)(void *context, const struct metric *metric), void *context);

#endif
