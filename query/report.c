/*
 * The facts of completeness. Each is said even when it is good ("0 lost"), so that a missing line
 * can never be read as "nothing is missing".
 */

#include "query/report.h"

#include <string.h>

#include "core/auto.h"
#include "profile/answer_json.h"
#include "profile/loss.h"
#include "query/complain.h"
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
	/* Cores are of the time with data: where that is much less than was asked for, it is said.
	 */
	uint64_t asked_ns = side->to_ns - side->from_ns;
	if (side->span_ns && side->span_ns < asked_ns - asked_ns / 20)
		buf_printf(to, " (data spans %s)", units_duration(side->span_ns).text);
}

/*
 * Who samples counts periods; a period of 1 is that of values somebody else took, of which nobody
 * knows how many samples they were.
 */
bool report_knows_samples(const struct source_side *side)
{
	return !side->is_file && side->completeness.period_min > 1;
}

/* Several series of an instance have each their own seconds: then the mean is one over series. */
bool report_is_per_instance(const struct source_side *side)
{
	return side->completeness.series <= side->completeness.instances;
}

static const char *report_plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

void report_put_size(const struct source *source, uint32_t index, struct buf *to)
{
	const struct source_side *side = &source->sides[index];
	const struct completeness *all = &side->completeness;

	if (all->instances)
		buf_printf(to, "%s instance%s  ", units_count(all->instances).text,
		        report_plural(all->instances));
	if (source->is_cpu && side->span_ns)
		buf_printf(to, "%s cores  ", units_cores(side->value, side->span_ns).text);
	else
		buf_printf(to, "total %s  ", units_value(source->unit, side->value).text);
	if (source->is_cpu && all->coverage_ns)
		buf_printf(to, "%s mcores/%s  ",
		        units_millicores(side->value, all->coverage_ns).text,
		        report_is_per_instance(side) ? "instance" : "series");
	if (report_knows_samples(side))
		buf_printf(to, "%s sample%s", units_count(all->samples).text,
		        report_plural(all->samples));
	else if (!side->is_file)
		buf_printf(to, all->period_max > 1 ? "partly imported, not sampled"
		                                   : "imported, not sampled");
	else
		buf_printf(to, "%s stack%s", units_count(all->samples).text,
		        report_plural(all->samples));
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

/* What is told of a caller, because the stack itself is not kept: why, and how much. */
struct report_folded {
	const char *reason; /* in JSON as well: it stays what it is */
	uint64_t samples;
	uint64_t value;
};

#define REPORT_FOLDED 2

static void report_list_folded(
        const struct completeness *all, struct report_folded ret_folded[REPORT_FOLDED])
{
	ret_folded[0] = (struct report_folded){ "rare", all->samples_folded, all->value_folded };
	ret_folded[1] = (struct report_folded){ "service_stacks", all->samples_capped,
		all->value_capped };
}

static void report_put_folded(const struct source_side *side, struct buf *to)
{
	struct report_folded folded[REPORT_FOLDED];
	const char *gap = ": ";
	report_list_folded(&side->completeness, folded);
	bool is_none = true;
	for (int i = 0; i < REPORT_FOLDED; i++)
		is_none &= folded[i].value == 0 && folded[i].samples == 0;
	buf_printf(
	        to, is_none ? "folded 0 samples into their callers" : "folded into their callers");
	for (int i = 0; i < REPORT_FOLDED; i++) {
		if (folded[i].value == 0 && folded[i].samples == 0)
			continue;
		buf_printf(to, "%s%s %s samples (%s of the value)", gap, folded[i].reason,
		        units_count(folded[i].samples).text,
		        units_percent(folded[i].value, side->value).text);
		gap = ", ";
	}
}

/* Windows that the range cuts where nothing finer is left, at either edge. */
static void report_put_edges(const struct completeness *all, const char *indent, struct buf *to)
{
	if (all->cut_begin_ns)
		buf_printf(to,
		        "%sthe range begins within a window of %s of which nothing finer is left: "
		        "it is left out\n",
		        indent, units_duration(all->cut_begin_ns).text);
	if (all->cut_end_ns)
		buf_printf(to,
		        "%sthe range ends within a window of %s of which nothing finer is left: "
		        "all of it is counted\n",
		        indent, units_duration(all->cut_end_ns).text);
}

static void report_put_collapsed(const struct completeness *all, const char *indent, struct buf *to)
{
	if (all->windows_collapsed == 0)
		return;
	buf_printf(to, "%s%s window%s of sums, %s", indent,
	        units_count(all->windows_collapsed).text, report_plural(all->windows_collapsed),
	        units_time(all->collapsed_from_ns).text);
	buf_printf(to,
	        " .. %s: old enough to tell functions apart alone, not addresses and lines\n",
	        units_time(all->collapsed_to_ns).text);
}

/* From what the answer was added up, and what of it no part that is left can say. */
static void report_put_resolution(const struct source_side *side, struct buf *to)
{
	const struct completeness *all = &side->completeness;
	uint64_t finest_ns = all->resolution_finest_ns;
	uint64_t coarsest_ns = all->resolution_coarsest_ns;
	if (coarsest_ns == 0)
		buf_printf(to, "resolution: every row");
	else if (finest_ns == coarsest_ns)
		buf_printf(to, "resolution: sums of %s", units_duration(coarsest_ns).text);
	else if (finest_ns == 0)
		buf_printf(to, "resolution: rows, and sums of up to %s",
		        units_duration(coarsest_ns).text);
	else
		buf_printf(to, "resolution: sums of %s to %s", units_duration(finest_ns).text,
		        units_duration(coarsest_ns).text);
	if (all->windows_unanswerable)
		buf_printf(to, ", %s window%s of together %s cannot be answered any more",
		        units_count(all->windows_unanswerable).text,
		        report_plural(all->windows_unanswerable),
		        units_duration(all->unanswerable_ns).text);
}

static void report_put_word(const char *word, const char *before, struct buf *to)
{
	if (!*word)
		return;
	buf_printf(to, "%s", before);
	text_put_safe(to, word);
}

/* A line for each thing on the disk that is in no number of the answer. */
static void report_put_unreadable(
        const struct completeness *all, const char *indent, struct buf *to)
{
	for (uint32_t i = 0; i < all->unreadable_count; i++) {
		const struct unreadable *one = &all->unreadable[i];
		buf_printf(to, "%sunreadable: %s", indent, units_time(one->from_ns).text);
		if (one->to_ns > one->from_ns)
			buf_printf(to, " .. %s", units_time(one->to_ns).text);
		report_put_word(one->service, " service ", to);
		report_put_word(one->type, " type ", to);
		report_put_word(one->what, ": ", to);
		buf_put_u8(to, '\n');
	}
	if (all->corrupt > all->unreadable_count && all->unreadable_count == ANSWER_UNREADABLE_MAX)
		buf_printf(
		        to, "%sand more: profleet-aggregator --verify names all of it\n", indent);
}

static void report_put_corrupt(const struct completeness *all, const char *gap, struct buf *to)
{
	if (all->corrupt)
		buf_printf(to, "%s%s unreadable on disk", gap, units_count(all->corrupt).text);
	if (all->corrupt_replaced)
		buf_printf(
		        to, " (of %s nothing is missing)", units_count(all->corrupt_replaced).text);
}

void report_put_missing(const struct completeness *all, struct buf *to)
{
	report_put_corrupt(all, "", to);
	if (all->corrupt)
		buf_put_u8(to, '\n');
	report_put_edges(all, "", to);
	report_put_collapsed(all, "", to);
	report_put_unreadable(all, "", to);
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
		buf_printf(to, "\n%s", indent);
		report_put_folded(side, to);
		buf_put_u8(to, '\n');
	}
	if (side->value > 0)
		buf_printf(to, "%sunfinished stacks %s, unknown leaf frames %s of the value\n",
		        indent, units_percent(all->value_truncated, side->value).text,
		        units_percent(all->value_unknown_leaf, side->value).text);
	if (side->value_empty)
		buf_printf(to,
		        "%sstacks without a single frame %s of the value: in no line above\n",
		        indent, units_percent(side->value_empty, side->value).text);
	if (side->is_file)
		return;
	buf_printf(to, "%s%s interval%s of %s observer%s, %s", indent,
	        units_count(all->intervals).text, report_plural(all->intervals),
	        units_count(all->observers).text, report_plural(all->observers),
	        all->missing_ns ? units_duration(all->missing_ns).text : "none");
	buf_printf(to, " missing");
	report_put_corrupt(all, ", ", to);
	buf_printf(to, "\n%s", indent);
	report_put_resolution(side, to);
	buf_put_u8(to, '\n');
	report_put_edges(all, indent, to);
	report_put_collapsed(all, indent, to);
	report_put_unreadable(all, indent, to);
}

/* What makes the two sides unlike beyond what is compared, one line each. */
static void report_put_unequal(const char *what, double a, double b, struct buf *to)
{
	double difference = b > a ? b - a : a - b;
	if (difference > 0.01)
		buf_printf(to,
		        "warning: the sides are not equally complete: %s %.1f %% of A and %.1f %% "
		        "of B\n",
		        what, 100 * a, 100 * b);
}

static double report_part(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

static double report_lost_part(const struct completeness *all)
{
	double lost = 0;
	for (size_t i = 0; i <= LOSS_REASON_MAX; i++)
		lost += (double)all->lost[i];
	return lost > 0 ? lost / (lost + (double)all->samples) : 0;
}

static double report_missing_part(const struct source_side *side)
{
	double missing = (double)side->completeness.missing_ns;
	double watched = (double)side->span_ns * side->completeness.observers;
	return watched > 0 ? missing / watched : 0;
}

bool report_has_rate(const struct source *source)
{
	for (uint32_t i = 0; i < source->sides_count; i++)
		if (!source->is_cpu || source->sides[i].completeness.coverage_ns == 0)
			return false;
	return true;
}

const char *report_watched(const struct source *source)
{
	for (uint32_t i = 0; i < source->sides_count; i++)
		if (!report_is_per_instance(&source->sides[i]))
			return "series";
	return "instance";
}

static void report_put_series(const struct source *source, uint32_t side, struct buf *to)
{
	const struct completeness *all = &source->sides[side].completeness;
	if (!report_has_rate(source) || all->instances == 0 || all->series <= all->instances)
		return;
	buf_printf(
	        to, "note: %s has %s series of ", side ? "B" : "A", units_count(all->series).text);
	buf_printf(to,
	        "%s instance%s, each with seconds of its own: mcores are a mean over series; "
	        "compare shares, or pick one program by its labels\n",
	        units_count(all->instances).text, all->instances == 1 ? "" : "s");
}

void report_put_warnings(const struct source *source, struct buf *to)
{
	const struct source_side *a = &source->sides[0];
	const struct source_side *b = &source->sides[1];

	report_put_unequal("samples lost:", report_lost_part(&a->completeness),
	        report_lost_part(&b->completeness), to);
	report_put_unequal(
	        "unfinished stacks:", report_part(a->completeness.value_truncated, a->value),
	        report_part(b->completeness.value_truncated, b->value), to);
	report_put_unequal(
	        "unknown frames:", report_part(a->completeness.value_unknown_leaf, a->value),
	        report_part(b->completeness.value_unknown_leaf, b->value), to);
	report_put_unequal(
	        "observers' time missing:", report_missing_part(a), report_missing_part(b), to);
	if (a->completeness.period_max && b->completeness.period_max &&
	        a->completeness.period_max != b->completeness.period_max)
		buf_printf(to,
		        "note: sampling periods differ: %s of A, %s of B; values are in the unit, "
		        "so nothing is scaled\n",
		        units_value(source->unit, a->completeness.period_max).text,
		        units_value(source->unit, b->completeness.period_max).text);
	report_put_series(source, 0, to);
	report_put_series(source, 1, to);
	if (!report_has_rate(source))
		return;
	double before = report_part(a->value, a->completeness.coverage_ns);
	double load =
	        before > 0 ? 100 * (report_part(b->value, b->completeness.coverage_ns) / before - 1)
	                   : 0;
	if (load > 20 || load < -20)
		buf_printf(to,
		        "note: the load differs by %s: shares may shift without any "
		        "function having changed\n",
		        units_change(1 + load / 100).text);
}

bool report_has_recorded(const struct source *source)
{
	for (uint32_t i = 0; i < source->sides_count; i++)
		if (source->sides[i].completeness.has_recorded)
			return true;
	return false;
}

void report_remark(const struct source *source)
{
	for (uint32_t side = 0; side < source->sides_count; side++) {
		AUTO_BUF text = { 0 };
		report_put_completeness(source, side, "", &text);
		AUTO_BUF line = { 0 };
		/* One fact after the other: "lost 0 samples; unfinished stacks 0.00 %, ...". */
		for (size_t i = 0; i < text.count; i++)
			if (text.bytes[i] != '\n')
				buf_put_u8(&line, text.bytes[i]);
			else if (i + 1 < text.count)
				buf_put(&line, "; ", 2);
		buf_put_u8(&line, '\0');
		if (!text.failed && !line.failed && !source->sides[side].is_file)
			remark("%s%s",
			        source->sides_count < 2 ? ""
			        : side                  ? "B: "
			                                : "A: ",
			        (const char *)line.bytes);
	}
}

void report_json_share(
        struct json_writer *json, const char *key, uint64_t part, uint64_t whole, double scale)
{
	json_key(json, key);
	if (whole > 0)
		json_double(json, scale * (double)part / (double)whole);
	else
		json_write_null(json);
}

static void report_json_folded(const struct completeness *all, struct json_writer *json)
{
	struct report_folded folded[REPORT_FOLDED];
	report_list_folded(all, folded);
	json_key(json, "folded");
	json_object_begin(json);
	for (int i = 0; i < REPORT_FOLDED; i++) {
		if (folded[i].value == 0 && folded[i].samples == 0)
			continue;
		json_key(json, folded[i].reason);
		json_object_begin(json);
		json_key_u64(json, "samples", folded[i].samples);
		json_key_u64(json, "value", folded[i].value);
		json_object_end(json);
	}
	json_object_end(json);
}

static void report_json_completeness(
        const struct source_side *side, const struct completeness *all, struct json_writer *json)
{
	json_key(json, "completeness");
	json_object_begin(json);
	json_key(json, "samples");
	if (report_knows_samples(side))
		json_u64(json, all->samples);
	else
		json_write_null(json);
	json_key_u64(json, "samples_lost", report_lost(all));
	json_key(json, "lost");
	json_object_begin(json);
	for (uint32_t i = 0; i <= LOSS_REASON_MAX; i++)
		if (all->lost[i])
			json_key_u64(json, report_loss_name(i), all->lost[i]);
	json_object_end(json);
	report_json_folded(all, json);
	json_key_u64(json, "value_truncated", all->value_truncated);
	json_key_u64(json, "value_unknown_leaf", all->value_unknown_leaf);
	json_key_u64(json, "value_without_frames", side->value_empty);
	report_json_share(json, "truncated_share", all->value_truncated, side->value, 1);
	report_json_share(json, "unknown_leaf_share", all->value_unknown_leaf, side->value, 1);
	json_key_u64(json, "intervals", all->intervals);
	json_key_u64(json, "observers", all->observers);
	json_key_u64(json, "missing_ns", all->missing_ns);
	answer_json_unreadable(all, json);
	json_key_u64(json, "resolution_finest_ns", all->resolution_finest_ns);
	json_key_u64(json, "resolution_coarsest_ns", all->resolution_coarsest_ns);
	json_key_u64(json, "value_folded", all->value_folded);
	json_key_u64(json, "windows_unanswerable", all->windows_unanswerable);
	json_key_u64(json, "unanswerable_ns", all->unanswerable_ns);
	answer_json_edges(all, json);
	answer_json_collapsed(all, json);
	json_key_bool(json, "recorded", all->has_recorded != 0);
	json_object_end(json);
}

void report_json_head(const struct source *source, const char *verb, struct json_writer *json)
{
	json_key_u64(json, "schema_version", 1);
	json_key_text(json, "verb", verb);
	json_key_text(json, "type", source->type);
	json_key_text(json, "unit", source->unit);
}

void report_json_side(const struct source *source, uint32_t index, struct json_writer *json)
{
	const struct source_side *side = &source->sides[index];
	const struct completeness *all = &side->completeness;

	json_object_begin(json);
	json_key_text(json, side->is_file ? "file" : "selector", side->words);
	json_key_u64(json, "from_ns", side->from_ns);
	json_key_u64(json, "to_ns", side->to_ns);
	json_key_u64(json, "first_ns", all->first_ns);
	json_key_u64(json, "last_ns", all->last_ns);
	json_key_u64(json, "value", side->value);
	json_key_u64(json, "instances", all->instances);
	json_key_u64(json, "series", all->series);
	json_key_u64(json, "coverage_ns", all->coverage_ns);
	json_key_u64(json, "period_min", all->period_min);
	json_key_u64(json, "period_max", all->period_max);
	if (source->is_cpu) {
		report_json_share(json, "cores", side->value, side->span_ns, 1);
		report_json_share(json, "mcores_per_instance", side->value, all->coverage_ns, 1000);
	}
	report_json_completeness(side, all, json);
	json_object_end(json);
}

void report_put_shown(size_t shown, size_t count, const char *what, struct buf *to)
{
	if (shown == count)
		buf_printf(to, "\nall %s %s shown\n", units_count(count).text, what);
	else
		buf_printf(to, "\n%s of %s %s shown; --limit 0 shows all\n",
		        units_count(shown).text, units_count(count).text, what);
}
