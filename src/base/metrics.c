#include "base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define LABELS_MAX 6
#define BUCKETS 20

/* Upper bounds in seconds: three per decade from 50 us to 100 s; the last bucket is +Inf. */
static const double bounds[BUCKETS - 1] = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100};

struct series {
    struct series *next;
    char *values[LABELS_MAX];
    int labels_n;
    _Atomic int64_t value; /* counters, gauges; histograms: count */
    _Atomic int64_t sum_ns;
    _Atomic int64_t buckets[BUCKETS];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *head, **tail = &head;

static void register_locked(struct metric *metric) {
    if (metric->registered) return;
    metric->registered = 1;
    metric->next = NULL;
    *tail = metric;
    tail = &metric->next;
}

void metric_register(struct metric *metric) {
    pthread_mutex_lock(&lock);
    register_locked(metric);
    pthread_mutex_unlock(&lock);
}

static int label_count(const struct metric *metric) {
    if (!metric->labels || !*metric->labels) return 0;
    int n = 1;
    for (const char *p = metric->labels; *p; p++) n += *p == ',';
    return n;
}

static int same_labels(const struct series *s, const char *const *values, int n) {
    for (int i = 0; i < n; i++)
        if (strcmp(s->values[i], values[i]) != 0) return 0;
    return 1;
}

struct series *metric_series(struct metric *metric, ...) {
    int n = label_count(metric);
    must(n <= LABELS_MAX);
    const char *values[LABELS_MAX];
    va_list args;
    va_start(args, metric);
    for (int i = 0; i < n; i++) values[i] = va_arg(args, const char *);
    va_end(args);

    pthread_mutex_lock(&lock);
    register_locked(metric);
    struct series **at = &metric->series;
    while (*at && !same_labels(*at, values, n)) at = &(*at)->next;
    if (!*at) {
        *at = mem_zalloc(sizeof **at);
        (*at)->labels_n = n;
        for (int i = 0; i < n; i++) (*at)->values[i] = mem_strdup(values[i]);
    }
    struct series *found = *at;
    pthread_mutex_unlock(&lock);
    return found;
}

void series_add(struct series *s, int64_t n) { atomic_fetch_add_explicit(&s->value, n, memory_order_relaxed); }
void series_set(struct series *s, int64_t value) { atomic_store_explicit(&s->value, value, memory_order_relaxed); }
int64_t series_value(const struct series *s) { return atomic_load_explicit(&s->value, memory_order_relaxed); }

void series_observe(struct series *s, double seconds) {
    int i = 0;
    while (i < BUCKETS - 1 && seconds > bounds[i]) i++;
    atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->sum_ns, (int64_t)(seconds * 1e9), memory_order_relaxed);
    atomic_fetch_add_explicit(&s->value, 1, memory_order_relaxed);
}

double series_quantile(const struct series *s, double q) {
    int64_t counts[BUCKETS], total = 0;
    for (int i = 0; i < BUCKETS; i++) total += counts[i] = atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
    if (!total) return 0;
    double want = q * (double)total, seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        if (seen + (double)counts[i] >= want && counts[i]) {
            double low = i ? bounds[i - 1] : 0, high = i < BUCKETS - 1 ? bounds[i] : bounds[BUCKETS - 2];
            return low + (high - low) * (want - seen) / (double)counts[i];
        }
        seen += (double)counts[i];
    }
    return bounds[BUCKETS - 2];
}

static void write_value_escaped(struct buf *out, const char *v) {
    for (; *v; v++) {
        if (*v == '\\' || *v == '"') buf_char(out, '\\');
        if (*v == '\n')
            buf_text(out, "\\n");
        else
            buf_char(out, *v);
    }
}

/* {a="x",b="y"[,le="…"]}; nothing when there is no label. */
static void write_labels(struct buf *out, const struct metric *metric, const struct series *s, const char *le) {
    if (!s->labels_n && !le) return;
    struct str names = str_of(metric->labels);
    buf_char(out, '{');
    for (int i = 0; i < s->labels_n; i++) {
        if (i) buf_char(out, ',');
        buf_str(out, str_trim(str_cut(&names, ',')));
        buf_text(out, "=\"");
        write_value_escaped(out, s->values[i]);
        buf_char(out, '"');
    }
    if (le) buf_printf(out, "%sle=\"%s\"", s->labels_n ? "," : "", le);
    buf_char(out, '}');
}

static void write_histogram(struct buf *out, const struct metric *metric, const struct series *s) {
    int64_t total = 0;
    for (int i = 0; i < BUCKETS; i++) {
        char le[32] = "+Inf";
        if (i < BUCKETS - 1) snprintf(le, sizeof le, "%g", bounds[i]);
        total += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        buf_printf(out, "%s_bucket", metric->name);
        write_labels(out, metric, s, le);
        buf_printf(out, " %lld\n", (long long)total);
    }
    buf_printf(out, "%s_sum", metric->name);
    write_labels(out, metric, s, NULL);
    buf_printf(out, " %.9g\n%s_count", (double)atomic_load_explicit(&s->sum_ns, memory_order_relaxed) / 1e9, metric->name);
    write_labels(out, metric, s, NULL);
    buf_printf(out, " %lld\n", (long long)total);
}

void metrics_write(struct buf *out) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    pthread_mutex_lock(&lock);
    for (const struct metric *m = head; m; m = m->next) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, kinds[m->kind]);
        for (const struct series *s = m->series; s; s = s->next) {
            if (m->kind == METRIC_HISTOGRAM) {
                write_histogram(out, m, s);
                continue;
            }
            buf_text(out, m->name);
            write_labels(out, m, s, NULL);
            buf_printf(out, " %lld\n", (long long)series_value(s));
        }
    }
    pthread_mutex_unlock(&lock);
}

void metrics_each(void (*f)(void *context, const struct metric *metric), void *context) {
    pthread_mutex_lock(&lock);
    for (const struct metric *m = head; m; m = m->next) f(context, m);
    pthread_mutex_unlock(&lock);
}
