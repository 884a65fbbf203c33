/* Rows of the type that was not chosen are left out by copying the others; one type needs no copy.
 */

#include "query/rows.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "profile/pprof.h"
#include "query/complain.h"
#include "query/units.h"

int rows_explain(int result)
{
	if (result == -EOVERFLOW)
		return complain(EXIT_CODE_FAILED,
		        "values add up to more than 64 bits hold; narrow the question");
	if (result == -ENOMEM || result == -ENOSPC)
		return complain(EXIT_CODE_FAILED,
		        "out of memory; narrow the question by labels or a shorter range");
	return complain(EXIT_CODE_FAILED, "%s", strerrordesc_np(-result));
}

static int rows_copy_chosen(const struct source_side *side, struct batch *to)
{
	const struct batch *from = side->batch;
	int result = 0;
	to->start_ns = from->start_ns;
	to->duration_ns = from->duration_ns;
	for (uint32_t i = 0; i < from->rows_count && result == 0; i++)
		if (side->chosen[from->rows[i].series])
			result = batch_add_row(
			        to, from->rows[i].series, from->rows[i].node, from->rows[i].value);
	for (uint32_t i = 0; i < from->coverage_count && result == 0; i++)
		if (side->chosen[from->coverage[i].series])
			result = batch_add_coverage(
			        to, from->coverage[i].series, from->coverage[i].ns);
	return result;
}

static int rows_write(const struct batch *batch, enum output_format format, frame_name name,
        struct buf *to, uint64_t *ret_replaced)
{
	if (format == FORMAT_FOLDED)
		return folded_write(batch, name, to, ret_replaced);
	return pprof_write(batch, name, to);
}

int rows_deliver(const struct source_side *side, enum output_format format, frame_name name,
        const struct output *output)
{
	assert(format == FORMAT_FOLDED || format == FORMAT_PPROF);

	AUTO_BUF bytes = { 0 };
	AUTO(batch) chosen = NULL;
	uint64_t replaced = 0;
	int result = 0;
	if (side->chosen) {
		chosen = batch_new(side->batch->dict);
		result = chosen ? rows_copy_chosen(side, chosen) : -ENOMEM;
	}
	if (result == 0)
		result = rows_write(chosen ? chosen : side->batch, format, name, &bytes, &replaced);
	if (result < 0)
		return rows_explain(result);
	if (replaced)
		remark("%s names hold a semicolon or a control character, which folded text "
		       "cannot; "
		       "they were written as : and ?. pprof keeps them",
		        units_count(replaced).text);
	return format == FORMAT_PPROF ? output_deliver_bytes(output, &bytes, EXIT_CODE_OK)
	                              : output_deliver(output, &bytes, EXIT_CODE_OK);
}

void rows_put_cut(const char *what, uint64_t shown, uint64_t count, uint64_t value_hidden,
        uint64_t value, struct buf *to)
{
	if (shown == count)
		buf_printf(to, "all %s %s shown\n", units_count(count).text, what);
	else
		buf_printf(to,
		        "%s of %s %s shown, %s of the value not shown; --limit 0 shows all\n",
		        units_count(shown).text, units_count(count).text, what,
		        units_percent(value_hidden, value).text);
}
