/*
 * The facts of completeness. Each is said even when it is good ("0 lost"), so that a missing line
 * can never be read as "nothing is missing".
 */

#include "query/report.h"

#include <string.h>

#include "profile/loss.h"
#include "query/text.h"
#include "query/units.h"

void report_put_range(const struct source_side *side, struct buf *to)
{
	if (side->is_file && side->from_ns == 0) {
		if (side->span_ns)
			buf_printf(to, "file, %s long", units_duration(side->span_ns).text);
		else
			buf_printf(to, "file without a time");
		return;
	}
	buf_printf(to, "%s .. %s", units_time(side->from_ns).text, units_time(side->to_ns).text);
}

void report_put_size(const struct source *source, uint32_t index, struct buf *to)
{
	const struct source_side *side = &source->sides[index];
	const struct completeness *all = &side->completeness;

	if (all->instances)
		buf_printf(to, "%s instance%s  ", units_count(all->instances).text,
		        all->instances == 1 ? "" : "s");
	if (source->is_cpu && side->span_ns)
		buf_printf(to, "%s cores  ", units_cores(side->value, side->span_ns).text);
	else
		buf_printf(
		        to, "%s %s  ", units_value(source->unit, side->value).text, source->type);
	if (source->is_cpu && all->coverage_ns)
		buf_printf(to, "%s mcores/instance  ",
		        units_millicores(side->value, all->coverage_ns).text);
	buf_printf(to, "%s samples", units_count(all->samples).text);
}

void report_put_head(const struct source *source, uint32_t index, const char *name, struct buf *to)
{
	const struct source_side *side = &source->sides[index];
	if (*name)
		buf_printf(to, "%s  ", name);
	text_put_safe(to, side->words);
	buf_put(to, "  ", 2);
	report_put_range(side, to);
	buf_put(to, "  ", 2);
	report_put_size(source, index, to);
	buf_put_u8(to, '\n');
}

static uint64_t report_lost(const struct completeness *all)
{
	uint64_t lost = 0;
	for (size_t i = 0; i <= LOSS_REASON_MAX; i++)
		if (__builtin_add_overflow(lost, all->lost[i], &lost))
			return UINT64_MAX;
	return lost;
}

static const char *report_loss_name(uint32_t reason)
{
	const char *name = loss_reason_name(reason);
	return name ? name : "other";
}

static void report_put_losses(const struct completeness *all, struct buf *to)
{
	uint64_t lost = report_lost(all);
	if (lost == 0) {
		buf_printf(to, "lost 0 samples");
		return;
	}
	buf_printf(to, "lost %s samples (%s of those taken): ", units_count(lost).text,
	        units_percent(lost, lost > UINT64_MAX - all->samples ? lost : lost + all->samples)
	                .text);
	const char *gap = "";
	for (uint32_t i = 0; i <= LOSS_REASON_MAX; i++) {
		if (all->lost[i] == 0)
			continue;
		buf_printf(to, "%s%s %s", gap, report_loss_name(i), units_count(all->lost[i]).text);
		gap = ", ";
	}
}

void report_put_completeness(
        const struct source *source, uint32_t index, const char *indent, struct buf *to)
{
	const struct source_side *side = &source->sides[index];
	const struct completeness *all = &side->completeness;

	if (all->has_recorded)
		buf_printf(to, "%s" REPORT_RECORDED "\n", indent);
	if (!side->is_file) {
		buf_put(to, indent, strlen(indent));
		report_put_losses(all, to);
		buf_put_u8(to, '\n');
	}
	if (side->value > 0)
		buf_printf(to, "%sunfinished stacks %s, unknown frames %s of the value\n", indent,
		        units_percent(all->value_truncated, side->value).text,
		        units_percent(all->value_unknown_leaf, side->value).text);
	if (side->is_file)
		return;
	buf_printf(to, "%s%s intervals of %s observer%s, %s", indent,
	        units_count(all->intervals).text, units_count(all->observers).text,
	        all->observers == 1 ? "" : "s",
	        all->missing_ns ? units_duration(all->missing_ns).text : "none");
	buf_printf(to, " missing");
	if (all->corrupt)
		buf_printf(to, ", %s unreadable on disk", units_count(all->corrupt).text);
	buf_put_u8(to, '\n');
}

bool report_has_recorded(const struct source *source)
{
	for (uint32_t i = 0; i < source->sides_count; i++)
		if (source->sides[i].completeness.has_recorded)
			return true;
	return false;
}
