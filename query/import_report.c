/*
 * A file is told of while it is still in memory, as text or as members of its JSON object; what is
 * about all of them is added up when the last one is done.
 */

#include "query/import_report.h"

#include <errno.h>
#include <stdlib.h>

#include "core/auto.h"
#include "core/json.h"
#include "query/text.h"
#include "query/units.h"

static bool import_is_of_type(const struct series *series, const struct series *other)
{
	return series->type == other->type && series->unit == other->unit;
}

/* Whether it is the first series of its type and unit. */
static bool import_is_first_of_type(const struct dict *dict, uint32_t id)
{
	const struct series *series = dict_get_series(dict, id);
	for (uint32_t before = 0; before < id; before++)
		if (import_is_of_type(dict_get_series(dict, before), series))
			return false;
	return true;
}

/* Of all series of this one's type and unit, in the unit. */
static uint64_t import_total(const struct batch *batch, const struct series *series)
{
	unsigned __int128 total = 0;
	for (uint32_t row = 0; row < batch->rows_count; row++) {
		const struct series *its = dict_get_series(batch->dict, batch->rows[row].series);
		if (import_is_of_type(its, series))
			total += (unsigned __int128)batch->rows[row].value * its->period;
	}
	return total > UINT64_MAX ? UINT64_MAX : (uint64_t)total;
}

/* One line per type: "cart.pb.gz: 120 samples, ..." and "  cpu total 12400000000 nanoseconds". */
static void import_report_text(const struct profile_file *file, struct import_told *told)
{
	const struct batch *batch = file->batch;
	const struct dict *dict = batch->dict;
	uint32_t count = dict_mark(dict).series;
	struct buf *text = &told->text;

	text_put_safe(text, told->path);
	bool is_one = file->report.samples == 1;
	buf_printf(text, ": %s %s%s, ", units_count(file->report.samples).text,
	        file->form == PROFILE_FILE_PPROF ? "sample" : "line", is_one ? "" : "s");
	buf_printf(text, "%s row%s, ", units_count(batch->rows_count).text,
	        batch->rows_count == 1 ? "" : "s");
	buf_printf(text, "at %s for %s, %s\n", units_time(batch->start_ns).text,
	        units_duration(batch->duration_ns).text, profile_file_form_name(file->form));
	for (uint32_t i = 0; i < count; i++) {
		const struct series *series = dict_get_series(dict, i);
		if (!import_is_first_of_type(dict, i))
			continue;
		buf_put(text, "  ", 2);
		text_put_safe(text, dict_text(dict, series->type));
		buf_printf(text, " total %llu ", (unsigned long long)import_total(batch, series));
		text_put_safe(text, dict_text(dict, series->unit));
		buf_put_u8(text, '\n');
	}
	if (count == 0)
		buf_printf(text, "  note: it names no sample type, so nothing was stored\n");
	for (uint32_t i = 0; i < file->report.notes_count; i++) {
		buf_printf(text, "  note: ");
		text_put_safe(text, file->report.notes[i]);
		buf_put_u8(text, '\n');
	}
}

static void import_report_json(const struct profile_file *file, struct import_told *told)
{
	const struct batch *batch = file->batch;
	const struct dict *dict = batch->dict;
	uint32_t count = dict_mark(dict).series;
	struct json_writer json = json_writer_of(&told->text, false);

	json_object_begin(&json);
	json_key_text(&json, "file", told->path);
	json_key_bool(&json, "imported", true);
	json_key_text(&json, "form", profile_file_form_name(file->form));
	json_key_u64(&json, "samples", file->report.samples);
	json_key_u64(&json, "rows", batch->rows_count);
	json_key_u64(&json, "start_ns", batch->start_ns);
	json_key_u64(&json, "duration_ns", batch->duration_ns);
	json_key_u64(&json, "waited_ns", told->waited_ns);
	json_key(&json, "types");
	json_array_begin(&json);
	for (uint32_t i = 0; i < count; i++) {
		const struct series *series = dict_get_series(dict, i);
		if (!import_is_first_of_type(dict, i))
			continue;
		json_object_begin(&json);
		json_key_text(&json, "type", dict_text(dict, series->type));
		json_key_text(&json, "unit", dict_text(dict, series->unit));
		json_key_u64(&json, "total", import_total(batch, series));
		json_object_end(&json);
	}
	json_array_end(&json);
	json_key(&json, "notes");
	json_array_begin(&json);
	for (uint32_t i = 0; i < file->report.notes_count; i++)
		json_text(&json, file->report.notes[i]);
	json_array_end(&json);
	json_object_end(&json);
}

void import_report_file(const struct profile_file *file, bool is_json, struct import_told *told)
{
	told->is_imported = true;
	told->rows = file->batch->rows_count;
	if (is_json)
		import_report_json(file, told);
	else
		import_report_text(file, told);
}

struct import_sums {
	uint32_t files; /* that were imported */
	uint64_t rows;
	uint64_t p50_ns, p99_ns, max_ns; /* of their waits */
};

static int import_compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;
	return (left > right) - (left < right);
}

static int import_add_up(
        const struct import_told *told, uint32_t count, struct import_sums *ret_sums)
{
	struct import_sums sums = { 0 };
	autofree uint64_t *waited_ns = calloc((size_t)count + 1, sizeof(*waited_ns));
	if (!waited_ns)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		if (!told[i].is_imported)
			continue;
		waited_ns[sums.files++] = told[i].waited_ns;
		sums.rows += told[i].rows;
	}
	if (sums.files > 0) {
		qsort(waited_ns, sums.files, sizeof(*waited_ns), import_compare);
		sums.p50_ns = waited_ns[sums.files / 2];
		sums.p99_ns = waited_ns[(uint64_t)sums.files * 99 / 100];
		sums.max_ns = waited_ns[sums.files - 1];
	}
	*ret_sums = sums;
	return 0;
}

static void import_put_told(const struct import_told *told, struct buf *to)
{
	buf_put(to, told->text.bytes, told->text.count);
	to->failed = to->failed || told->text.failed;
}

static void import_put_text(const struct import_told *told, uint32_t count, uint64_t elapsed_ns,
        const struct import_sums *sums, struct buf *to)
{
	for (uint32_t i = 0; i < count; i++)
		if (told[i].is_imported)
			import_put_told(&told[i], to);
	if (count == 1 && sums->files == 1)
		return;
	buf_printf(to, "%u of %u files imported", sums->files, count);
	if (sums->files > 0) {
		buf_printf(to, ": %s row%s in %s\n", units_count(sums->rows).text,
		        sums->rows == 1 ? "" : "s", units_duration(elapsed_ns).text);
		buf_printf(to, "acknowledged after %s (p50), %s (p99), %s at most",
		        units_duration(sums->p50_ns).text, units_duration(sums->p99_ns).text,
		        units_duration(sums->max_ns).text);
	}
	buf_put_u8(to, '\n');
}

static void import_put_json(const struct import_told *told, uint32_t count, uint64_t elapsed_ns,
        const struct import_sums *sums, struct buf *to)
{
	struct json_writer json = json_writer_of(to, true);
	json_object_begin(&json);
	json_key_u64(&json, "schema_version", 1);
	json_key_u64(&json, "files_imported", sums->files);
	json_key_u64(&json, "files_count", count);
	json_key_u64(&json, "rows", sums->rows);
	json_key_u64(&json, "elapsed_ns", elapsed_ns);
	json_key(&json, "waited_ns");
	json_object_begin(&json);
	json_key_u64(&json, "p50", sums->p50_ns);
	json_key_u64(&json, "p99", sums->p99_ns);
	json_key_u64(&json, "max", sums->max_ns);
	json_object_end(&json);
	json_key(&json, "files");
	json_array_begin(&json);
	for (uint32_t i = 0; i < count; i++) {
		if (told[i].is_imported) {
			json_raw(&json, (const char *)told[i].text.bytes, told[i].text.count);
			to->failed = to->failed || told[i].text.failed;
			continue;
		}
		json_object_begin(&json);
		json_key_text(&json, "file", told[i].path);
		json_key_bool(&json, "imported", false);
		json_key_bool(&json, "tried", told[i].is_tried);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
	buf_put_u8(to, '\n');
}

int import_report_all(const struct import_told *told, uint32_t count, uint64_t elapsed_ns,
        bool is_json, struct buf *to)
{
	struct import_sums sums;
	int r = import_add_up(told, count, &sums);
	if (r < 0)
		return r;
	if (is_json)
		import_put_json(told, count, elapsed_ns, &sums, to);
	else
		import_put_text(told, count, elapsed_ns, &sums, to);
	return 0;
}
