#pragma once

/*
 * progress shows on stderr what a verb is waiting for, once it has waited for two seconds and only
 * where stderr is a terminal. One line, rewritten in place, wiped before anything else is printed.
 *
 * One progress at a time; the calls may come from any thread.
 */

#include <stdbool.h>
#include <stdint.h>

/* From here on the line says `doing`, and how far: see progress_at(). */
void progress_begin(const char *doing);

/* `done` of `total`, in whatever unit; total 0 where nobody knows. */
void progress_at(uint64_t done, uint64_t total);

/*
 * Somebody who knows how far it is, asked each time the line was drawn and so never in the first
 * two seconds: returns false where he does not know. On a thread of its own, until progress_end().
 */
void progress_ask(bool (*ask)(void *owner, uint64_t *ret_done, uint64_t *ret_total), void *owner);

/* Other words for what is waited for, from the thread that asks; nothing where there is no line. */
void progress_say(const char *doing);

/* Takes the line from the screen for now; it comes back while the work goes on. */
void progress_wipe(void);
void progress_end(void);
