/* A profile as one HTML file: figures in tables, histograms in SVG, colours by the reader's preference. */
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/shown.h"
#include "cli/output.h"
#include "cli/profile.h"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    "<style>\n"
    ":root{color-scheme:light dark;--back:#fbfbfa;--card:#fff;--text:#1c1f23;--dim:#5c6570;--line:#dfe3e8;--bar:#2f6fb3;--warn:#a33b12;--warnback:#fdf1ea}\n"
    "@media "
    "(prefers-color-scheme:dark){:root{--back:#14171b;--card:#1c2026;--text:#e6e9ed;--dim:#9aa5b1;--line:#323941;--bar:#6ea8e6;--warn:#f0a27e;--warnback:#"
    "33221b}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:1100px;padding:1.5rem 1rem 4rem;background:var(--back);color:var(--text);font:15px/1.5 "
    "system-ui,sans-serif}\n"
    "h1{font-size:1.5rem;margin:0 0 .25rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:0;overflow-wrap:anywhere}p{margin:.25rem 0 "
    "1rem;color:var(--dim)}a{color:var(--bar)}\n"
    ".warn{margin:.5rem 0;padding:.5rem .75rem;border-left:3px solid var(--warn);background:var(--warnback);color:var(--warn);overflow-wrap:anywhere}\n"
    ".card{margin:1rem 0;padding:1rem;background:var(--card);border:1px solid var(--line);border-radius:6px}\n"
    ".type{color:var(--dim);font-family:ui-monospace,monospace;font-size:.85rem}.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr));"
    "gap:1rem;margin-top:.75rem}\n"
    "table{border-collapse:collapse;width:100%;font-size:.88rem}th,td{padding:.15rem .6rem .15rem "
    "0;text-align:left;vertical-align:top;overflow-wrap:anywhere;font-weight:400}th{color:var(--dim)}\n"
    "td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}caption{text-align:left;color:var(--dim);font-size:.85rem;padding-bottom:.2rem}"
    ".all{overflow-x:auto}\n"
    ".all td,.all th{border-bottom:1px solid var(--line);padding:.3rem .6rem .3rem 0;overflow-wrap:normal}.all th.n{text-align:right}.groups "
    "td:first-child{width:75%}svg{display:block;width:100%;height:5rem}svg rect{fill:var(--bar)}.small "
    "svg{height:1.4rem;width:7rem}\n"
    ".ends{display:flex;justify-content:space-between;gap:1rem;font-size:.8rem;color:var(--dim);overflow-wrap:anywhere}\n"
    ".share{display:block;height:.3rem;background:var(--line)}.share i{display:block;height:100%;background:var(--bar)}\n"
    "</style>\n";

/* Text of data: markup does not get through, nor what base/shown.h escapes. */
static void put(struct buf *out, const char *text) {
    char room[SHOWN_ESCAPE_MAX];
    struct str rest = str_of(text), shown;
    for (size_t at = 0; at < rest.n;) {
        at += shown_next(str_from(rest, at), &shown, room);
        switch (*shown.p) {
        case '&': buf_text(out, "&amp;"); break;
        case '<': buf_text(out, "&lt;"); break;
        case '>': buf_text(out, "&gt;"); break;
        case '"': buf_text(out, "&quot;"); break;
        default: buf_str(out, shown);
        }
    }
}

/* Beside other words on the same line: text that reads from right to left must not pull them along. */
static void put_apart(struct buf *out, const char *text) {
    buf_text(out, "<bdi>");
    put(out, text);
    buf_text(out, "</bdi>");
}

static void put_value(struct buf *out, const json_t *value) {
    if (json_is_string(value))
        put(out, json_string_value(value));
    else if (json_is_number(value))
        profile_number(json_number_value(value), out);
}

static void put_histogram(struct buf *out, const json_t *histogram, const char *name) {
    size_t n = json_array_size(histogram);
    double most = 1;
    for (size_t i = 0; i < n; i++) most = fmax(most, json_number_value(json_array_get(histogram, i)));
    buf_printf(out, "<svg viewBox=\"0 0 %zu 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"histogram of ", n * 10);
    put(out, name);
    buf_text(out, "\">");
    for (size_t i = 0; i < n; i++) {
        double count = json_number_value(json_array_get(histogram, i)), height = count > 0 ? fmax(1.5, 100 * count / most) : 0;
        buf_printf(out, "<rect x=\"%zu\" y=\"%.2f\" width=\"9\" height=\"%.2f\"><title>%.0f</title></rect>", i * 10, 100 - height, height, count);
    }
    buf_text(out, "</svg>");
}

static void row(struct buf *out, const char *name, const json_t *value) {
    if (!value || json_is_null(value)) return;
    buf_printf(out, "<tr><th scope=\"row\">%s</th><td class=\"n\">", name);
    put_value(out, value);
    buf_text(out, "</td></tr>");
}

static void share_row(struct buf *out, const char *name, double part, double whole) {
    buf_printf(out, "<tr><th scope=\"row\">%s</th><td class=\"n\">", name);
    profile_number(part, out);
    buf_text(out, " (");
    profile_share(part, whole, out);
    buf_text(out, ")</td></tr>");
}

static void put_figures(struct buf *out, const json_t *column, double rows) {
    const json_t *lengths = json_object_get(column, "lengths"), *outliers = json_object_get(column, "outliers"), *reads = json_object_get(column, "reads_as");
    buf_text(out, "<table>");
    share_row(out, "nulls", profile_at(column, "nulls"), rows);
    share_row(out, "distinct", profile_at(column, "distinct"), profile_at(column, "values"));
    row(out, "smallest", json_object_get(column, "min"));
    row(out, "largest", json_object_get(column, "max"));
    row(out, "mean", json_object_get(column, "mean"));
    row(out, "standard deviation", json_object_get(column, "stdev"));
    if (json_object_get(column, "zeros")) share_row(out, "zero", profile_at(column, "zeros"), rows);
    if (json_object_get(column, "negatives")) share_row(out, "negative", profile_at(column, "negatives"), rows);
    row(out, "characters, least", json_object_get(lengths, "min"));
    row(out, "characters, most", json_object_get(lengths, "max"));
    row(out, "characters, mean", json_object_get(lengths, "mean"));
    if (profile_at(column, "blanks") > 0) share_row(out, "blank, or null as text", profile_at(column, "blanks"), rows);
    if (outliers) share_row(out, "outliers (beyond 1.5 IQR)", profile_at(outliers, "below") + profile_at(outliers, "above"), profile_at(column, "values"));
    if (reads) {
        buf_text(out, "<tr><th scope=\"row\">reads as</th><td class=\"n\">");
        put(out, text_at(reads, "type"));
        buf_char(out, ' ');
        profile_share(profile_at(reads, "share"), 1, out);
        buf_text(out, "</td></tr>");
    }
    buf_text(out, "</table>");
}

static void put_quantiles(struct buf *out, const json_t *column) {
    const json_t *quantiles = json_object_get(column, "quantiles");
    const char *name;
    json_t *value;
    if (!quantiles) return;
    buf_text(out, "<table><caption>quantiles</caption>");
    json_object_foreach((json_t *)(uintptr_t)quantiles, name, value) {
        buf_printf(out, "<tr><th scope=\"row\">%s%%</th><td class=\"n\">", name);
        put_value(out, value);
        buf_text(out, "</td></tr>");
    }
    buf_text(out, "</table>");
}

static void put_groups(struct buf *out, const json_t *column, const char *list_name, const char *member, const char *title) {
    const json_t *list = json_object_get(column, list_name);
    double values = profile_at(column, "values");
    if (!json_array_size(list)) return;
    buf_printf(out, "<table class=\"groups\"><caption>%s</caption>", title);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        double count = profile_at(one, "count");
        buf_text(out, "<tr><td>");
        put(out, text_at(one, member));
        buf_printf(out, "<span class=\"share\"><i style=\"width:%.2f%%\"></i></span></td><td class=\"n\">", values > 0 ? 100 * count / values : 0);
        profile_number(count, out);
        buf_text(out, "</td></tr>");
    }
    buf_text(out, "</table>");
}

static void put_column(struct buf *out, const json_t *column, size_t i, double rows) {
    const json_t *histogram = json_object_get(column, "histogram");
    buf_printf(out, "<section class=\"card\" id=\"c%zu\"><h2>", i);
    put_apart(out, text_at(column, "name"));
    buf_text(out, " <span class=\"type\">");
    put(out, text_at(column, "type"));
    buf_text(out, "</span></h2><div class=\"grid\"><div>");
    put_figures(out, column, rows);
    buf_text(out, "</div><div>");
    if (histogram) {
        put_histogram(out, histogram, text_at(column, "name"));
        buf_text(out, "<div class=\"ends\"><span>");
        put(out, text_at(column, "min"));
        buf_text(out, "</span><span>");
        put(out, text_at(column, "max"));
        buf_text(out, "</span></div>");
    }
    put_quantiles(out, column);
    put_groups(out, column, "patterns", "pattern", "patterns");
    buf_text(out, "</div><div>");
    put_groups(out, column, "top", "value", "most frequent");
    buf_text(out, "</div></div></section>\n");
}

static void put_overview(struct buf *out, const json_t *columns, double rows) {
    buf_text(out,
        "<div class=\"card all\"><table><thead><tr><th scope=\"col\">column</th><th scope=\"col\">type</th><th scope=\"col\">nulls</th><th "
        "scope=\"col\">distinct</th>"
        "<th scope=\"col\">values</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < json_array_size(columns); i++) {
        const json_t *column = json_array_get(columns, i);
        buf_printf(out, "<tr><td><a href=\"#c%zu\">", i);
        put(out, text_at(column, "name"));
        buf_text(out, "</a></td><td class=\"type\">");
        put(out, text_at(column, "type"));
        buf_text(out, "</td><td class=\"n\">");
        profile_share(profile_at(column, "nulls"), rows, out);
        buf_text(out, "</td><td class=\"n\">");
        profile_number(profile_at(column, "distinct"), out);
        buf_text(out, "</td><td class=\"small\">");
        if (json_object_get(column, "histogram")) put_histogram(out, json_object_get(column, "histogram"), text_at(column, "name"));
        buf_text(out, "</td></tr>\n");
    }
    buf_text(out, "</tbody></table></div>\n");
}

static void put_keys(struct buf *out, const json_t *keys) {
    buf_text(out, "<p>Likely keys: ");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        buf_text(out, i ? ", " : "");
        for (size_t k = 0; k < json_array_size(key); k++) {
            buf_text(out, k ? " + " : "");
            put_apart(out, json_string_value(json_array_get(key, k)));
        }
    }
    buf_text(out, json_array_size(keys) ? "</p>\n" : "none</p>\n");
}

void profile_write_html(const json_t *profile, struct buf *out) {
    must(profile && out);
    const json_t *columns = json_object_get(profile, "columns"), *warnings = json_object_get(profile, "warnings");
    double rows = profile_at(profile, "profiled");
    buf_text(out, head);
    buf_text(out, "<title>Profile of ");
    put(out, text_at(profile, "table"));
    buf_text(out, "</title></head><body>\n<h1>");
    put(out, text_at(profile, "table"));
    buf_text(out, "</h1><p>");
    profile_number(profile_at(profile, "rows"), out);
    buf_printf(out, " rows, %zu columns", json_array_size(columns));
    if (json_is_true(json_object_get(profile, "sampled"))) {
        buf_text(out, "; figures of a sample of ");
        profile_number(rows, out);
        buf_text(out, " rows");
    }
    buf_text(out, "</p>\n");
    put_keys(out, json_object_get(profile, "keys"));
    for (size_t i = 0; i < json_array_size(warnings); i++) {
        buf_text(out, "<div class=\"warn\">");
        put(out, json_string_value(json_array_get(warnings, i)));
        buf_text(out, "</div>\n");
    }
    put_overview(out, columns, rows);
    for (size_t i = 0; i < json_array_size(columns); i++) put_column(out, json_array_get(columns, i), i, rows);
    buf_text(out, "</body></html>\n");
}
