/*
 * import: profiles of other tools into the store, with labels and a time. Files are read by several
 * threads and sent by one session, so that what they have in common is sent once; what a file is
 * called in the answer is printed in the order of the command line.
 */

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/clock.h"
#include "query/client.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/import_readers.h"
#include "query/import_report.h"
#include "query/output.h"
#include "query/profile_file.h"
#include "query/progress.h"
#include "query/push_session.h"
#include "query/text.h"
#include "query/units.h"

#define IMPORT_JOBS_MAX        16
#define IMPORT_DURATION_NS     (10 * NS_PER_S)
#define IMPORT_TOO_MUCH        "its values add up to more than 64 bits hold; split it"
#define IMPORT_TOO_LATE        "it would end after 2554-07-21, the end of time; give an earlier --at"
#define IMPORT_DURATION_MAX_NS (366 * 86400 * NS_PER_S)

struct import_args {
	struct shared_args shared;
	uint32_t form; /* of import_forms */
	char *type;
	char *unit;
	struct option_list labels;
	struct option_time at;
	uint64_t duration_ns; /* 0: the file's own */
	uint32_t jobs;
	uint32_t format; /* of import_formats */
};

static const char *const import_forms[] = { "auto", "folded", "pprof", NULL };
static const char *const import_formats[] = { "table", "json", NULL };

static const struct option_spec import_options[] = {
	{ .name = "format",
	        .short_name = 'f',
	        .kind = OPTION_ENUM,
	        .offset = offsetof(struct import_args, form),
	        .fallback = "auto",
	        .choices = import_forms,
	        .help = "the files' form; auto goes by the name's ending, else by the first "
	                "bytes" },
	{ .name = "type",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct import_args, type),
	        .value_name = "TYPE",
	        .help = "the profile type: of a folded file (cpu where not given), or a new name "
	                "for "
	                "a pprof file's only or default type" },
	{ .name = "unit",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct import_args, unit),
	        .value_name = "UNIT",
	        .help = "the unit of a folded file's values; nanoseconds for cpu and offcpu, else "
	                "count" },
	{ .name = "label",
	        .short_name = 'l',
	        .kind = OPTION_LIST,
	        .offset = offsetof(struct import_args, labels),
	        .value_name = "NAME=VALUE",
	        .help = "a label for every series of every file" },
	{ .name = "at",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct import_args, at),
	        .value_name = "TIME",
	        .help = "when the profile began; else the file's own time, else now less the "
	                "duration" },
	{ .name = "duration",
	        .kind = OPTION_DURATION,
	        .offset = offsetof(struct import_args, duration_ns),
	        .min = 1,
	        .max = IMPORT_DURATION_MAX_NS,
	        .value_name = "DURATION",
	        .help = "how long it was watched; else the file's own duration, else 10s" },
	{ .name = "jobs",
	        .short_name = 'j',
	        .kind = OPTION_U32,
	        .offset = offsetof(struct import_args, jobs),
	        .fallback = "4",
	        .min = 1,
	        .max = IMPORT_JOBS_MAX,
	        .value_name = "N",
	        .help = "how many files may be under way at once; fewer are where more would only "
	                "wait for the aggregator" },
	FORMAT_OPTION(import_args, import_formats),
	SHARED_OPTIONS(import_args),
	{ 0 },
};

static const struct option_table import_table = {
	.program = "profleet import",
	.summary = "bring profiles of other tools into the store",
	.usage = "FILE... [--type TYPE] [--label NAME=VALUE ...] [--at TIME] [options]",
	.description =
	        "Sends files in folded or pprof form to the aggregator as series with the given "
	        "labels "
	        "and time, value for value. `-` is standard input.\n\n"
	        "What a file has and the store cannot keep (a negative value, an unknown field) "
	        "refuses "
	        "the file with the place; notes about the rest are printed. The text of a pprof "
	        "sample's labels becomes series labels sample.NAME, and comes out again by "
	        "export.\n\n"
	        "After a lost connection the same parts are sent again under the same ids, so that "
	        "nothing is counted twice. Running the same import again does count twice.",
	.examples = "profleet import cart.pb.gz --label service=cart --label version=1.8\n"
	            "perf script | stackcollapse-perf.pl | profleet import - --format folded "
	            "--type cpu \\\n"
	            "    --unit count --label service=batch --at now-1h --duration 60s\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = import_options,
	.args_min = 1,
	.args_max = UINT32_MAX,
};

struct import {
	const struct import_args *args;
	uint64_t now_ns;
	uint64_t at_ns; /* where --at is given */
	struct import_told *files;
	int *codes; /* exit codes of the files; -1: not tried */
	uint32_t files_count;
	bool is_json;
	pthread_mutex_t lock;
	uint32_t next;
	bool stop;
	uint64_t sections_done, sections_count;
	struct push_session *session; /* of all threads */
	struct import_readers *readers;
};

static enum profile_file_form import_form(const struct import_args *args)
{
	static const enum profile_file_form forms[] = { PROFILE_FILE_GUESS, PROFILE_FILE_FOLDED,
		PROFILE_FILE_PPROF };
	return forms[args->form];
}

/*
 * When and how long; coverage once per type, since all series of a file are of one observer.
 * -ERANGE: it would end behind the end of time.
 */
static int import_stamp(const struct import *import, struct profile_file *file)
{
	struct batch *batch = file->batch;
	const struct pprof_report *report = &file->report;
	uint64_t duration_ns = import->args->duration_ns ? import->args->duration_ns
	                                                 : report->duration_ns;
	if (duration_ns == 0 || duration_ns > IMPORT_DURATION_MAX_NS)
		duration_ns = IMPORT_DURATION_NS;
	bool is_given = import->args->at.text;
	uint64_t start_ns = is_given ? import->at_ns : report->time_unix_ns;
	if (start_ns == 0 && !is_given)
		start_ns = import->now_ns > duration_ns ? import->now_ns - duration_ns : 0;
	if (duration_ns >= UINT64_MAX - start_ns)
		return -ERANGE;
	batch->start_ns = start_ns;
	batch->duration_ns = duration_ns;
	batch->coverage_count = 0;

	uint32_t count = dict_mark(batch->dict).series;
	for (uint32_t i = 0; i < count; i++) {
		const struct series *series = dict_get_series(batch->dict, i);
		bool first = true;
		for (uint32_t before = 0; before < i && first; before++) {
			const struct series *other = dict_get_series(batch->dict, before);
			first = other->type != series->type || other->unit != series->unit;
		}
		int result = first ? batch_add_coverage(batch, i, duration_ns) : 0;
		if (result < 0)
			return result;
	}
	return batch_settle(batch);
}

struct import_sending {
	struct import *import;
	uint64_t done, count; /* of the current file */
};

static void import_progress(void *owner, uint64_t done, uint64_t count)
{
	struct import_sending *sending = owner;
	struct import *import = sending->import;
	pthread_mutex_lock(&import->lock);
	import->sections_done += done - sending->done;
	import->sections_count += count - sending->count;
	sending->done = done;
	sending->count = count;
	progress_at(import->sections_done, import->sections_count);
	pthread_mutex_unlock(&import->lock);
}

/* The store adds up in 64 bits, over types too. */
static bool import_fits(const struct batch *batch)
{
	uint64_t total = 0;
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		uint64_t value;
		if (__builtin_mul_overflow(row->value,
		            dict_get_series(batch->dict, row->series)->period, &value) ||
		        __builtin_add_overflow(total, value, &total))
			return false;
	}
	return true;
}

static int import_file(struct import *import, struct import_told *to, bool *ret_was_read)
{
	const struct import_args *args = import->args;
	struct profile_file_options options = {
		.form = import_form(args),
		.type = args->type,
		.folded_type = "cpu",
		.unit = args->unit,
		.labels = (const char *const *)args->labels.items,
		.labels_count = args->labels.count,
	};
	struct profile_file file;
	int code = import_readers_read(import->readers, to->path, &options, &file);
	if (code)
		return code;
	*ret_was_read = true;
	int result = import_stamp(import, &file);
	struct import_sending sending = { .import = import };
	struct push_progress progress = { import_progress, &sending };
	if (result < 0)
		code = complain(EXIT_CODE_FAILED, "%s: %s", to->path,
		        result == -EOVERFLOW ? IMPORT_TOO_MUCH
		        : result == -ERANGE  ? IMPORT_TOO_LATE
		                             : strerrordesc_np(-result));
	else if (!import_fits(file.batch))
		code = complain(EXIT_CODE_FAILED, "%s: %s", to->path, IMPORT_TOO_MUCH);
	else {
		uint64_t before_ns = clock_monotonic_ns(clock_real());
		code = push_session_send(import->session, to->path, file.batch, progress);
		to->waited_ns = clock_monotonic_ns(clock_real()) - before_ns;
	}
	if (code == 0)
		import_readers_acked(import->readers, to->waited_ns);
	else
		import_readers_dropped(import->readers);
	if (code == 0)
		import_report_file(&file, import->is_json, to);
	profile_file_fini(&file);
	return code;
}

/* The next one's place in the list, or UINT32_MAX. */
static uint32_t import_next(struct import *import)
{
	pthread_mutex_lock(&import->lock);
	uint32_t next = UINT32_MAX;
	if (!import->stop && import->next < import->files_count)
		next = import->next++;
	pthread_mutex_unlock(&import->lock);
	return next;
}

static void *import_work(void *opaque)
{
	struct import *import = opaque;
	for (uint32_t i; (i = import_next(import)) != UINT32_MAX;) {
		bool was_read = false;
		import->files[i].is_tried = true;
		import->codes[i] = import_file(import, &import->files[i], &was_read);
		if (import->codes[i] == 0 || !was_read)
			continue; /* A file that is refused says nothing about the next one. */
		/* The aggregator does not take it, and most likely not the next one either. */
		pthread_mutex_lock(&import->lock);
		import->stop = true;
		pthread_mutex_unlock(&import->lock);
	}
	return NULL;
}

static void import_run_jobs(struct import *import)
{
	pthread_t threads[IMPORT_JOBS_MAX];
	uint32_t jobs = import->args->jobs < import->files_count ? import->args->jobs
	                                                         : import->files_count;
	uint32_t started = 0;
	for (; started + 1 < jobs; started++)
		if (pthread_create(&threads[started], NULL, import_work, import) != 0)
			break; /* Fewer threads do the same work. */
	(void)import_work(import);
	for (uint32_t i = 0; i < started; i++)
		(void)pthread_join(threads[i], NULL);
}

static int import_print(struct import *import, uint64_t elapsed_ns)
{
	struct output output = output_of(&import->args->shared, NULL);
	AUTO_BUF text = { 0 };
	int code = 0;
	for (uint32_t i = 0; i < import->files_count; i++) {
		if (import->codes[i] > 0 && code == 0)
			code = import->codes[i];
		if (import->codes[i] < 0)
			remark("%s: not tried", import->files[i].path);
	}
	if (import_report_all(
	            import->files, import->files_count, elapsed_ns, import->is_json, &text) < 0)
		return complain(EXIT_CODE_FAILED, "out of memory");
	return output_deliver(&output, &text, code);
}

static int cmd_import_run(void *opaque, const struct option_args *words)
{
	const struct import_args *args = opaque;
	struct import import = {
		.args = args,
		.now_ns = clock_unix_ns(clock_real()),
		.is_json = output_format_of(import_formats[args->format]) == FORMAT_JSON,
		.files_count = words->count,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	char error[256];
	if (args->type && !*args->type)
		return complain(EXIT_CODE_USAGE, "--type: a type needs a name, such as cpu");
	uint32_t inputs = 0;
	for (uint32_t i = 0; i < words->count; i++)
		inputs += strcmp(words->items[i], "-") == 0;
	if (inputs > 1)
		return complain(EXIT_CODE_USAGE,
		        "standard input is named %u times, and can be "
		        "read once",
		        inputs);
	if (option_time_ns(&args->at, import.now_ns, 0, &import.at_ns, error, sizeof(error)) < 0)
		return complain(EXIT_CODE_USAGE, "--at: %s", error);

	autofree struct import_told *files = calloc((size_t)words->count + 1, sizeof(*files));
	autofree int *codes = calloc((size_t)words->count + 1, sizeof(*codes));
	if (!files || !codes)
		return complain(EXIT_CODE_FAILED, "out of memory");
	for (uint32_t i = 0; i < words->count; i++) {
		files[i].path = words->items[i];
		codes[i] = -1;
	}
	import.files = files;
	import.codes = codes;

	AUTO(client) client = NULL;
	AUTO(push_session) session = NULL;
	AUTO(import_readers) readers = NULL;
	int code = client_open(&args->shared, &client);
	if (code == 0)
		code = push_session_open(client, &session);
	if (code == 0) {
		int result = import_readers_new(args->jobs, &readers);
		if (result < 0)
			code = complain(EXIT_CODE_FAILED, "%s", strerrordesc_np(-result));
	}
	if (code == 0) {
		import.session = session;
		import.readers = readers;
		progress_begin("importing");
		uint64_t began_ns = clock_monotonic_ns(clock_real());
		import_run_jobs(&import);
		uint64_t elapsed_ns = clock_monotonic_ns(clock_real()) - began_ns;
		progress_end();
		code = import_print(&import, elapsed_ns);
	}
	for (uint32_t i = 0; i < words->count; i++)
		buf_fini(&files[i].text);
	return code;
}

const struct command cmd_import = {
	.name = "import",
	.table = &import_table,
	.args_size = sizeof(struct import_args),
	.run = cmd_import_run,
};
