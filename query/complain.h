#pragma once

/*
 * complain puts what went wrong on one line of stderr: what, where, remedy. It returns the exit
 * code it was given, so that a verb fails in one statement:
 *
 *	return complain(EXIT_CODE_USAGE, "--at %s: not a time; write now-1h or RFC 3339", text);
 *
 * Words of the user, of a file and of the server end up here: they are printed terminal-safe.
 */

#include <stddef.h>

#include "query/exit_code.h"

int complain(enum exit_code code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Until complain_release() what is complained of is kept (the last of it, cut at `bytes`) rather
 * than printed: for a question without which the answer is an answer all the same.
 */
void complain_hold(char *text, size_t bytes);
void complain_release(void);

/* The same for what does not end the program. */
void remark(const char *format, ...) __attribute__((format(printf, 1, 2)));
