/* Rows of the type that was not chosen are left out by copying the others; one type needs no copy.
 */

#include "query/rows.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/pprof.h"
#include "query/complain.h"
#include "query/text.h"
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

void rows_put_csv_function(
        const struct names *names, uint32_t name, const char *unit, struct buf *to)
{
	text_put_csv(to, unit);
	buf_put_u8(to, ',');
	text_put_csv(to, names_function(names, name));
	buf_put_u8(to, ',');
	text_put_csv(to, names_module(names, name));
	buf_put_u8(to, '\n');
}

int rows_add_functions(struct functions *functions, const struct source *source, uint32_t side)
{
	const struct source_side *from = &source->sides[side];
	const struct batch *left_out = from->parts[ANSWER_CUT_NODES];
	if (!from->is_file && from->parts[ANSWER_CUM]) {
		/* Each side says the same count, as it is one of both. */
		for (uint32_t i = 0; left_out && i < left_out->rows_count; i++)
			if (!from->chosen || from->chosen[left_out->rows[i].series])
				functions_leave_out(functions, (uint32_t)left_out->rows[i].value);
		return functions_add_sums(
		        functions, side, from->batch, from->parts[ANSWER_CUM], from->chosen);
	}
	return functions_add(functions, side, from->batch, from->chosen);
}

struct rows_pick {
	uint32_t index;
	uint64_t value;
};

static int rows_compare_picks(const void *left, const void *right)
{
	const struct rows_pick *a = left, *b = right;
	if (a->value != b->value)
		return a->value > b->value ? -1 : 1;
	return (a->index > b->index) - (a->index < b->index);
}

/* The chosen rows, the greatest first; each of them is one stack of one series. */
static struct rows_pick *rows_pick(
        const struct source_side *side, uint32_t *ret_count, uint64_t *ret_value)
{
	const struct batch *from = side->batch;
	struct rows_pick *picks = calloc((size_t)from->rows_count + 1, sizeof(*picks));
	uint32_t count = 0;
	for (uint32_t i = 0; i < from->rows_count && picks; i++) {
		const struct row *row = &from->rows[i];
		if (side->chosen && !side->chosen[row->series])
			continue;
		/* source_load() has added them up: no product is past 64 bits. */
		uint64_t value = row->value * dict_get_series(from->dict, row->series)->period;
		picks[count++] = (struct rows_pick){ i, value };
		*ret_value += value;
	}
	if (count > 1)
		qsort(picks, count, sizeof(*picks), rows_compare_picks);
	*ret_count = count;
	return picks;
}

/* The rows that go out: of the chosen type, and of those the `limit` greatest where it is not 0. */
static int rows_copy(const struct source_side *side, uint32_t limit, struct batch *to)
{
	const struct batch *from = side->batch;
	uint32_t count = 0;
	uint64_t value = 0, kept = 0;
	autofree struct rows_pick *picks = rows_pick(side, &count, &value);
	int result = picks ? 0 : -ENOMEM;
	uint32_t shown = limit && limit < count ? limit : count;

	to->start_ns = from->start_ns;
	to->duration_ns = from->duration_ns;
	for (uint32_t i = 0; i < shown && result == 0; i++) {
		const struct row *row = &from->rows[picks[i].index];
		result = batch_add_row(to, row->series, row->node, row->value);
		kept += picks[i].value;
	}
	for (uint32_t i = 0; i < from->coverage_count && result == 0; i++)
		if (!side->chosen || side->chosen[from->coverage[i].series])
			result = batch_add_coverage(
			        to, from->coverage[i].series, from->coverage[i].ns);
	if (result == 0 && shown < count)
		remark("%s of %s stacks written, %s of the value left out; --limit 0 writes all",
		        units_count(shown).text, units_count(count).text,
		        units_percent(value - kept, value).text);
	return result == 0 ? batch_settle(to) : result;
}

static int rows_write(const struct batch *batch, enum output_format format, frame_name name,
        struct buf *to, uint64_t *ret_replaced)
{
	if (format == FORMAT_FOLDED)
		return folded_write(batch, name, to, ret_replaced);
	return pprof_write(batch, name, to);
}

/* The bytes of all chosen rows; what folded text cannot hold is remarked upon. */
static int rows_encode(const struct source_side *side, enum output_format format, frame_name name,
        uint32_t limit, struct buf *to)
{
	assert(format == FORMAT_FOLDED || format == FORMAT_PPROF);

	AUTO(batch) chosen = NULL;
	uint64_t replaced = 0;
	int result = 0;
	if (side->chosen || limit) {
		chosen = batch_new(side->batch->dict);
		result = chosen ? rows_copy(side, limit, chosen) : -ENOMEM;
	}
	if (result == 0)
		result = rows_write(chosen ? chosen : side->batch, format, name, to, &replaced);
	if (result == -EOVERFLOW && format == FORMAT_PPROF)
		return complain(EXIT_CODE_FAILED, "a value is past 2^63-1, the most that a pprof "
		                                  "file holds; ask for -o folded, or narrow the "
		                                  "question");
	if (result < 0)
		return rows_explain(result);
	if (replaced)
		remark("%s names hold a semicolon or a control character, which folded text "
		       "cannot; "
		       "they were written as : and ?. pprof keeps them",
		        units_count(replaced).text);
	return 0;
}

int rows_deliver(const struct source_side *side, enum output_format format, frame_name name,
        uint32_t limit, const struct output *output)
{
	AUTO_BUF bytes = { 0 };
	int code = rows_encode(side, format, name, limit, &bytes);
	if (code)
		return code;
	return format == FORMAT_PPROF ? output_deliver_bytes(output, &bytes, EXIT_CODE_OK)
	                              : output_deliver(output, &bytes, EXIT_CODE_OK);
}

/* A line of folded text: the stack, and the value behind its last blank. */
struct rows_line {
	const char *stack;
	size_t stack_count;
	const char *value;
	int value_count;
};

static int rows_compare_lines(const void *left, const void *right)
{
	const struct rows_line *a = left, *b = right;
	size_t count = a->stack_count < b->stack_count ? a->stack_count : b->stack_count;
	int order = memcmp(a->stack, b->stack, count);
	return order ? order
	             : (a->stack_count > b->stack_count) - (a->stack_count < b->stack_count);
}

/* Sorted by stack, which is not the order of whole lines. NULL: out of memory. */
static struct rows_line *rows_split(const struct buf *text, size_t *ret_count)
{
	const char *at = (const char *)text->bytes, *end = at + text->count;
	size_t count = 0;
	for (size_t i = 0; i < text->count; i++)
		count += text->bytes[i] == '\n';
	struct rows_line *lines = calloc(count + 1, sizeof(*lines));
	if (!lines)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		const char *blank = memrchr(at, ' ', (size_t)(line_end - at));
		lines[i] = (struct rows_line){ at, (size_t)(blank - at), blank + 1,
			(int)(line_end - blank - 1) };
		at = line_end + 1;
	}
	if (count > 1)
		qsort(lines, count, sizeof(*lines), rows_compare_lines);
	*ret_count = count;
	return lines;
}

int rows_deliver_both(const struct source *source, frame_name name, const struct output *output)
{
	AUTO_BUF a_text = { 0 };
	AUTO_BUF b_text = { 0 };
	AUTO_BUF both = { 0 };
	int code = rows_encode(&source->sides[0], FORMAT_FOLDED, name, 0, &a_text);
	if (code == 0)
		code = rows_encode(&source->sides[1], FORMAT_FOLDED, name, 0, &b_text);
	if (code)
		return code;

	size_t a_count = 0, b_count = 0;
	autofree struct rows_line *a = rows_split(&a_text, &a_count);
	autofree struct rows_line *b = rows_split(&b_text, &b_count);
	if (!a || !b)
		return rows_explain(-ENOMEM);
	for (size_t i = 0, j = 0; i < a_count || j < b_count;) {
		int order = i == a_count ? 1 : j == b_count ? -1 : rows_compare_lines(&a[i], &b[j]);
		const struct rows_line *line = order <= 0 ? &a[i] : &b[j];
		buf_put(&both, line->stack, line->stack_count);
		buf_printf(&both, " %.*s", order <= 0 ? a[i].value_count : 1,
		        order <= 0 ? a[i].value : "0");
		buf_printf(&both, " %.*s\n", order >= 0 ? b[j].value_count : 1,
		        order >= 0 ? b[j].value : "0");
		i += order <= 0;
		j += order >= 0;
	}
	return output_deliver(output, &both, EXIT_CODE_OK);
}

void rows_put_cut(const char *what, uint64_t shown, uint64_t count, uint64_t value_hidden,
        uint64_t value, struct buf *to)
{
	if (shown == count)
		buf_printf(to, "all %s %s%s shown\n", units_count(count).text, what,
		        count == 1 ? "" : "s");
	else
		buf_printf(to,
		        "%s of %s %ss shown, %s of the value not shown; --limit 0 shows all\n",
		        units_count(shown).text, units_count(count).text, what,
		        units_percent(value_hidden, value).text);
}
