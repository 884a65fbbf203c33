#pragma once

/*
 * naming turns the frames of a batch into named ones: a native (build-id, offset) becomes the
 * function that a symbol source knows, everything else is carried over. It is the last step
 * before an answer, and only touches what the answer needs.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/batch.h"
#include "profile/symbols.h"

/* Where symbol tables come from: the store, or the agent's own extraction. */
struct naming_source {
	/* Borrowed until the next call of the source; NULL when there is none (or not yet). */
	const struct symbols *(*find)(struct naming_source *source, const char *build_id);
	/*
	 * Called every NAMING_ROWS_EACH rows, when nothing of the source is borrowed: it may give
	 * back locks for a moment, and what it returns other than 0 ends the naming. May be NULL.
	 */
	int (*pause)(struct naming_source *source);
};

#define NAMING_ROWS_EACH 4096

enum naming_level {
	NAMING_FUNCTION =
	        1, /* frames of one function of one module become one: no address, no line */
	NAMING_ADDRESS = 2, /* addresses, lines and files are kept beside the name */
};

/*
 * Adds the rows of `from` to `to` (another dict) with named frames, and settles `to`. Series go
 * through unchanged; interval, coverage and losses are the caller's to carry over.
 *
 * A native frame without a name keeps function 0 and, at function level, loses its address. At
 * function level a frame is (kind, base name of the module, function): build-ids, files, lines,
 * system names and the inlined flag are dropped, so that what is one function is one frame.
 *
 * A stack marked as truncated that reached main(), with at most one frame of the C library beyond
 * it, loses the mark: nothing but start code calls main, and start code keeps no frame pointers.
 *
 * -ENOMEM, -ENOSPC (a limit of `to`'s dict), -EOVERFLOW. On error `to` holds a part: throw it away.
 */
int naming_apply(const struct batch *from, struct naming_source *source, enum naming_level level,
        struct batch *to);

/*
 * The same for one stack at a time, for who asks again and again: what was named once is remembered
 * for as long as the naming lives. It follows `from` as that grows. One thread at a time uses it.
 */
struct naming;

struct naming *naming_new(const struct dict *from, struct dict *to, enum naming_level level);
void naming_free(struct naming *naming); /* `from` may be gone by then */
DEFINE_AUTO(naming);

/* The named stack's node in `to`. Errors as naming_apply(); `node` exists in `from`. */
int naming_stack(
        struct naming *naming, struct naming_source *source, uint32_t node, uint32_t *ret_node);

/* By node of `from`: what naming_stack() gave, or ID_NONE. Good until the next naming_stack(). */
const uint32_t *naming_known(const struct naming *naming, uint32_t *ret_count);

/* Symbols came, or others: everything is named anew when it is next asked for. */
void naming_forget(struct naming *naming);
size_t naming_memory(const struct naming *naming);

/* Where in the file a frame's address is: what symbol tables speak of. */
uint64_t naming_file_offset(const struct module *module, uint64_t address);

/* A frame that no source could name. */
bool naming_is_unknown(const struct frame *frame);
