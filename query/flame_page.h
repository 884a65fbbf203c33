#pragma once

/*
 * flame_page writes the flame graph of one side, or of two, as one HTML file: query/flame.html with
 * its placeholders filled, as docs/formats/flame.md says. It asks the network for nothing.
 *
 * Names reach the page only as base64 of compressed bytes and as JSON without '<', so none of them
 * can end a tag or begin a script.
 */

#include <stdint.h>

#include "core/buf.h"
#include "profile/names.h"
#include "query/output.h"
#include "query/source.h"
#include "query/tree_view.h"

/* What is drawn, and how many nodes were folded into marks because of the limit. */
struct flame_page {
	const struct source *source;
	const struct names *names;
	const struct tree_view *tree;
	const bool *shown; /* by node; NULL: all */
	uint64_t shown_count;
	uint64_t hidden_count;
};

/* The profile bytes of docs/formats/flame.md. -ENOMEM. */
int flame_page_profile(const struct flame_page *page, struct buf *to);

/* The whole page. -ENOMEM. */
int flame_page_write(const struct flame_page *page, struct buf *to);

/*
 * Makes the page of a source and delivers it: to `out`, to standard output for "-", else to a new
 * file in the current folder whose name is printed. At most `limit` nodes, 0 for all. An exit code.
 */
int flame_page_deliver(const struct source *source, const struct shared_args *shared,
        const char *out, const char *verb, uint32_t limit);
