/* A profile on a terminal: a block per column. */
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/shown.h"
#include "cli/output.h"
#include "cli/profile.h"

#define NAME_WIDTH 14 /* of the labels */
#define SHOWN_TOP 5

void profile_number(double value, struct buf *out) {
    if (value == floor(value) && fabs(value) < 1e15) {
        char text[32];
        buf_text(out, with_commas((int64_t)value, text));
    } else if (fabs(value) >= 1e15 || (value != 0 && fabs(value) < 1e-4)) {
        buf_printf(out, "%.4g", value);
    } else if (fabs(value) >= 1000) {
        char text[32];
        double whole = trunc(value);
        buf_printf(out, "%s.%02d", with_commas((int64_t)whole, text), (int)(fabs(value - whole) * 100));
    } else {
        buf_printf(out, "%.5g", value);
    }
}

void profile_share(double part, double whole, struct buf *out) {
    double share = whole > 0 ? 100 * part / whole : 0;
    if (share > 0 && share < 0.01)
        buf_text(out, "<0.01%");
    else if (share > 99.99 && part < whole)
        buf_text(out, ">99.99%");
    else
        buf_printf(out, share == floor(share) || share >= 10 ? "%.0f%%" : "%.2f%%", share);
}

/* Data on one line, cut to `most` characters. */
static void put_data(struct buf *out, const char *text, size_t most) { shown_put(out, str_of(text), most); }

struct show {
    struct cli *cli;
    struct buf *out;
    size_t width;
    double rows;
};

static void label(struct show *s, const char *name) { buf_printf(s->out, "  %s%-*s%s", color_dim(s->cli), NAME_WIDTH, name, color_off(s->cli)); }

static void put_bars(struct buf *out, const json_t *histogram) {
    static const char *const levels[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double most = 0;
    for (size_t i = 0; i < json_array_size(histogram); i++) most = fmax(most, json_number_value(json_array_get(histogram, i)));
    for (size_t i = 0; i < json_array_size(histogram); i++) {
        double n = json_number_value(json_array_get(histogram, i));
        buf_text(out, levels[n == 0 ? 0 : 1 + (int)(7.0 * n / most)]);
    }
}

static void show_range(struct show *s, const json_t *column) {
    const json_t *histogram = json_object_get(column, "histogram");
    const char *min = text_at(column, "min"), *max = text_at(column, "max");
    if (!*min && !*max) return;
    label(s, "range");
    put_data(s->out, min, 40);
    buf_text(s->out, " ");
    if (histogram) {
        buf_text(s->out, color_green(s->cli));
        put_bars(s->out, histogram);
        buf_text(s->out, color_off(s->cli));
    } else {
        buf_text(s->out, "…");
    }
    buf_char(s->out, ' ');
    put_data(s->out, max, 40);
    buf_char(s->out, '\n');
}

static void show_quantiles(struct show *s, const json_t *column) {
    static const char *const names[] = {"5", "25", "50", "75", "95"};
    const json_t *quantiles = json_object_get(column, "quantiles");
    if (!quantiles || profile_at(column, "distinct") < 2) return;
    label(s, "quantiles");
    for (size_t i = 0; i < 5; i++) {
        const json_t *value = json_object_get(quantiles, names[i]);
        buf_printf(s->out, "%s%s%s%% %s", i ? "   " : "", color_dim(s->cli), names[i], color_off(s->cli));
        if (json_is_string(value))
            put_data(s->out, json_string_value(value), 30);
        else
            profile_number(json_number_value(value), s->out);
    }
    buf_char(s->out, '\n');
}

static void show_mean(struct show *s, const json_t *column) {
    if (!json_object_get(column, "mean") || profile_at(column, "distinct") < 2) return;
    label(s, "mean");
    profile_number(profile_at(column, "mean"), s->out);
    buf_text(s->out, "   standard deviation ");
    profile_number(profile_at(column, "stdev"), s->out);
    if (profile_at(column, "zeros") > 0) {
        buf_text(s->out, "   zero ");
        profile_share(profile_at(column, "zeros"), s->rows, s->out);
    }
    if (profile_at(column, "negatives") > 0) {
        buf_text(s->out, "   negative ");
        profile_share(profile_at(column, "negatives"), s->rows, s->out);
    }
    buf_char(s->out, '\n');
}

static void show_outliers(struct show *s, const json_t *column) {
    const json_t *outliers = json_object_get(column, "outliers");
    if (!outliers || profile_at(outliers, "below") + profile_at(outliers, "above") == 0) return;
    label(s, "outliers");
    profile_number(profile_at(outliers, "below"), s->out);
    buf_text(s->out, " below ");
    profile_number(profile_at(outliers, "low"), s->out);
    buf_text(s->out, ", ");
    profile_number(profile_at(outliers, "above"), s->out);
    buf_text(s->out, " above ");
    profile_number(profile_at(outliers, "high"), s->out);
    buf_char(s->out, '\n');
}

static void show_lengths(struct show *s, const json_t *column) {
    const json_t *lengths = json_object_get(column, "lengths"), *reads = json_object_get(column, "reads_as");
    if (!lengths) return;
    label(s, "characters");
    buf_printf(s->out, "%.0f to %.0f, mean %.1f", profile_at(lengths, "min"), profile_at(lengths, "max"), profile_at(lengths, "mean"));
    if (profile_at(column, "blanks") > 0) {
        buf_text(s->out, "   blank or null as text ");
        profile_share(profile_at(column, "blanks"), s->rows, s->out);
    }
    if (reads) {
        buf_printf(s->out, "   reads as %s ", text_at(reads, "type"));
        profile_share(profile_at(reads, "share"), 1, s->out);
    }
    buf_char(s->out, '\n');
}

/* The most frequent ones, as far as a line reaches. */
static void show_groups(struct show *s, const json_t *column, const char *list_name, const char *member, const char *title) {
    const json_t *list = json_object_get(column, list_name);
    size_t n = json_array_size(list);
    if (!n) return;
    label(s, title);
    size_t used = NAME_WIDTH + 2;
    for (size_t i = 0; i < n && i < SHOWN_TOP; i++) {
        const json_t *row = json_array_get(list, i);
        BUF_SCOPE(one);
        put_data(&one, text_at(row, member), 30);
        buf_char(&one, ' ');
        buf_text(&one, color_dim(s->cli));
        profile_share(profile_at(row, "count"), profile_at(column, "values"), &one);
        buf_text(&one, color_off(s->cli));
        if (i && used + one.n > s->width) break;
        buf_text(s->out, i ? "   " : "");
        buf_str(s->out, buf_view(&one));
        used += one.n + 3;
    }
    buf_char(s->out, '\n');
}

static void show_column(struct show *s, const json_t *column) {
    buf_char(s->out, '\n');
    buf_text(s->out, color_bold(s->cli));
    put_data(s->out, text_at(column, "name"), 60);
    buf_printf(s->out, "%s  %s%s%s   nulls ", color_off(s->cli), color_dim(s->cli), text_at(column, "type"), color_off(s->cli));
    profile_number(profile_at(column, "nulls"), s->out);
    buf_text(s->out, " (");
    profile_share(profile_at(column, "nulls"), s->rows, s->out);
    buf_text(s->out, ")   distinct ");
    profile_number(profile_at(column, "distinct"), s->out);
    buf_char(s->out, '\n');
    show_range(s, column);
    show_quantiles(s, column);
    show_mean(s, column);
    show_outliers(s, column);
    show_lengths(s, column);
    show_groups(s, column, "top", "value", "most frequent");
    show_groups(s, column, "patterns", "pattern", "patterns");
}

static void show_keys(struct show *s, const json_t *keys) {
    buf_text(s->out, "likely keys: ");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        buf_text(s->out, i ? ", " : "");
        for (size_t k = 0; k < json_array_size(key); k++) {
            buf_text(s->out, k ? " + " : "");
            put_data(s->out, json_string_value(json_array_get(key, k)), 60);
        }
    }
    buf_text(s->out, json_array_size(keys) ? "\n" : "none\n");
}

void profile_write_text(struct cli *cli, const json_t *profile, size_t width, struct buf *out) {
    must(cli && profile && out);
    struct show s = {cli, out, width ? width : 120, profile_at(profile, "profiled")};
    const json_t *columns = json_object_get(profile, "columns"), *warnings = json_object_get(profile, "warnings");
    buf_text(out, color_bold(cli));
    put_data(out, text_at(profile, "table"), 0);
    buf_printf(out, "%s: ", color_off(cli));
    profile_number(profile_at(profile, "rows"), out);
    buf_printf(out, " rows, %zu columns", json_array_size(columns));
    if (json_is_true(json_object_get(profile, "sampled"))) {
        buf_text(out, "; figures of a sample of ");
        profile_number(s.rows, out);
    }
    buf_char(out, '\n');
    show_keys(&s, json_object_get(profile, "keys"));
    for (size_t i = 0; i < json_array_size(warnings); i++) {
        buf_printf(out, "%swarning:%s ", color_red(cli), color_off(cli));
        put_data(out, json_string_value(json_array_get(warnings, i)), 400);
        buf_char(out, '\n');
    }
    for (size_t i = 0; i < json_array_size(columns); i++) show_column(&s, json_array_get(columns, i));
}
