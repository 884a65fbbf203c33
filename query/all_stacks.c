/* A page that nobody gave a name goes to a file where somebody looks on, and on to who reads it
 * elsewhere. */

#include "query/all_stacks.h"

#include "query/flame_page.h"
#include "query/rows.h"

bool all_stacks_wants(enum output_format format)
{
	return format == FORMAT_FOLDED || format == FORMAT_PPROF || format == FORMAT_HTML;
}

int all_stacks_deliver(const struct source *source, enum output_format format,
        const struct shared_args *shared, const char *out, const struct output *output)
{
	if (format == FORMAT_HTML)
		return flame_page_deliver(
		        source, shared, out || output->terminal ? out : "-", "flame", 0);
	return rows_deliver(&source->sides[0], format, names_frame_name, 0, output);
}
