/*
 * Findings go to standard output as they are met, so that the first one of a large store need not
 * wait for the last. How far it is goes to standard error once it takes long: a line that is
 * drawn over on a terminal, and now and then a line of its own elsewhere.
 */

#include "aggregator/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/clock.h"
#include "core/json.h"
#include "storage/store_verify.h"

#define VERIFY_QUIET_NS       (2 * NS_PER_S)
#define VERIFY_TERMINAL_EVERY (NS_PER_S / 4)
#define VERIFY_FILE_EVERY     (10 * NS_PER_S)
#define VERIFY_SCHEMA_VERSION 1

struct verify_report {
	bool is_json;
	struct buf text;
	struct json_writer json;
	bool has_failed; /* standard output does not take any more */

	bool is_terminal;
	bool is_drawn;
	uint64_t began_ns;
	uint64_t shown_ns;
};

static void verify_flush(struct verify_report *report)
{
	if (report->text.failed)
		report->has_failed = true;
	else if (report->text.count > 0 &&
	         fwrite(report->text.bytes, 1, report->text.count, stdout) != report->text.count)
		report->has_failed = true;
	report->text.count = 0;
}

static void verify_clear_line(struct verify_report *report)
{
	if (report->is_drawn)
		fprintf(stderr, "\r\033[K");
	report->is_drawn = false;
}

static const char *verify_kind(enum store_finding_kind kind)
{
	return kind == STORE_FINDING_DAMAGE ? "damaged" : "garbage";
}

static int verify_on_finding(void *owner, const struct store_finding *finding)
{
	struct verify_report *report = owner;
	verify_clear_line(report);
	if (report->is_json) {
		json_object_begin(&report->json);
		json_key_text(&report->json, "kind", verify_kind(finding->kind));
		json_key_text(&report->json, "family", finding->family);
		json_key_text(&report->json, "key", finding->key);
		json_key_text(&report->json, "reason", finding->reason);
		json_key_text(&report->json, "missing", finding->missing);
		json_object_end(&report->json);
	} else {
		buf_printf(&report->text, "%s  %s  %s: %s\n", verify_kind(finding->kind),
		        finding->family, finding->key, finding->reason);
		if (finding->missing[0])
			buf_printf(&report->text, "         missing: %s\n", finding->missing);
	}
	verify_flush(report);
	return 0;
}

static void verify_on_progress(
        void *owner, const char *family, const struct store_verify_summary *so_far)
{
	struct verify_report *report = owner;
	uint64_t now_ns = clock_monotonic_ns(clock_real());
	uint64_t every_ns = report->is_terminal ? VERIFY_TERMINAL_EVERY : VERIFY_FILE_EVERY;
	if (now_ns - report->began_ns < VERIFY_QUIET_NS || now_ns - report->shown_ns < every_ns)
		return;
	report->shown_ns = now_ns;
	fprintf(stderr,
	        "%sverifying: %s, %" PRIu64 " records, %" PRIu64 " MB, %" PRIu64 " damaged%s",
	        report->is_terminal ? "\r\033[K" : "", family, so_far->records,
	        so_far->bytes / 1000000, so_far->damaged, report->is_terminal ? "" : "\n");
	report->is_drawn = report->is_terminal;
}

static void verify_begin(struct verify_report *report, const char *path)
{
	if (!report->is_json)
		return;
	json_object_begin(&report->json);
	json_key_u64(&report->json, "schema_version", VERIFY_SCHEMA_VERSION);
	json_key_text(&report->json, "path", path);
	json_key(&report->json, "findings");
	json_array_begin(&report->json);
}

static void verify_end(struct verify_report *report, const char *path,
        const struct store_verify_summary *summary, const char *error)
{
	verify_clear_line(report);
	if (report->is_json) {
		json_array_end(&report->json);
		json_key_u64(&report->json, "format", summary->format);
		json_key_u64(&report->json, "records", summary->records);
		json_key_u64(&report->json, "bytes", summary->bytes);
		json_key_u64(&report->json, "batches", summary->batches);
		json_key_u64(&report->json, "windows", summary->windows);
		json_key_u64(&report->json, "rows", summary->rows);
		json_key_u64(&report->json, "damaged", summary->damaged);
		json_key_u64(&report->json, "garbage", summary->garbage);
		if (error)
			json_key_text(&report->json, "error", error);
		json_object_end(&report->json);
		buf_put_u8(&report->text, '\n');
	} else if (!error) {
		buf_printf(&report->text,
		        "%s: format %" PRIu32 ", %" PRIu64 " records, %" PRIu64 " bytes, %" PRIu64
		        " batches, %" PRIu64 " rows, %" PRIu64 " sealed windows: %" PRIu64
		        " damaged, %" PRIu64 " garbage\n",
		        path, summary->format, summary->records, summary->bytes, summary->batches,
		        summary->rows, summary->windows, summary->damaged, summary->garbage);
	}
	verify_flush(report);
	if (fflush(stdout) != 0)
		report->has_failed = true;
	if (error)
		fprintf(stderr, "profleet-aggregator: %s\n", error);
}

int verify_store(const struct aggregator_config *config)
{
	struct verify_report report = {
		.is_json = config->output == VERIFY_OUTPUT_JSON,
		.is_terminal = isatty(STDERR_FILENO) == 1,
		.began_ns = clock_monotonic_ns(clock_real()),
	};
	struct store_verify_summary summary = { 0 };
	struct store_verify_options options = {
		.path = config->data,
		.limits = config_dict_limits(config),
		.found = verify_on_finding,
		.progress = verify_on_progress,
		.owner = &report,
	};
	char error[512] = "";
	report.json = json_writer_of(&report.text, true);
	verify_begin(&report, config->data);
	int r = store_verify(&options, &summary, error, sizeof(error));
	verify_end(&report, config->data, &summary, r < 0 ? error : NULL);
	buf_fini(&report.text);
	if (report.has_failed)
		fprintf(stderr, "profleet-aggregator: standard output cannot be written\n");
	if (r < 0 || report.has_failed)
		return VERIFY_EXIT_FAILED;
	return summary.damaged ? VERIFY_EXIT_FOUND : VERIFY_EXIT_CLEAN;
}
