/* Text of data for people's eyes: on a terminal, in a log line, in a table of a page.
 *
 * Data may hold characters that steer what shows them: control sequences that move the cursor or set a title (C0, DEL, C1), marks that turn the reading
 * direction so that a line reads otherwise than it is (every character with Unicode's property Bidi_Control), and line ends. They are shown as what they
 * are: "\u001B", "\u202E", a line end as "↵". Everything else stays, backslashes too: this is for reading, not for reading back. Formats for machines do not
 * pass here; they stay exact.
 *
 * Text is UTF-8; a byte that belongs to no character becomes U+FFFD. Threads: all functions from any. */
#ifndef CUPEL_BASE_SHOWN_H
#define CUPEL_BASE_SHOWN_H

#include "base/buf.h"

#define SHOWN_ESCAPE_MAX 8

/* The first character of a text that is not empty: *shown is the character itself, or what stands for it (made in `room`). Returns how many bytes of the text
 * that was; CR LF is one line end. */
size_t shown_next(struct str text, struct str *shown, char room[SHOWN_ESCAPE_MAX]);
/* Appends the text on one line; behind `most` characters "…" (0: all of it). */
void shown_put(struct buf *out, struct str text, size_t most);
/* Appends the text with its line feeds and tabs as they are: payloads, SQL, messages of several lines. */
void shown_put_lines(struct buf *out, struct str text);
/* Appends an address without its user, password, query and fragment: they may be secrets. */
void shown_put_url(struct buf *out, const char *url);

#endif
