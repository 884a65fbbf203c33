/*
 * import: profiles of other tools into the store, with labels and a time. Files are read by several
 * threads and sent by one session, so that what they have in common is sent once; what a file is
 * called in the answer is printed in the order of the command line.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/clock.h"
#include "query/client.h"
#include "query/cmd_list.h"
#include "query/complain.h"
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
	uint32_t format; /* of import_formats */
	char *type;
	char *unit;
	struct option_list labels;
	struct option_time at;
	uint64_t duration_ns; /* 0: the file's own */
	uint32_t jobs;
};

static const char *const import_formats[] = { "auto", "folded", "pprof", NULL };

static const struct option_spec import_options[] = {
	{ .name = "format",
	        .short_name = 'f',
	        .kind = OPTION_ENUM,
	        .offset = offsetof(struct import_args, format),
	        .fallback = "auto",
	        .choices = import_formats,
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
	        .fallback = "2",
	        .min = 1,
	        .max = IMPORT_JOBS_MAX,
	        .value_name = "N",
	        .help = "how many files are read and sent at once" },
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

struct import_file {
	const char *path;
	int code;          /* exit code; -1: not tried */
	struct buf report; /* text, safe */
};

struct import {
	const struct import_args *args;
	uint64_t now_ns;
	uint64_t at_ns; /* where --at is given */
	struct import_file *files;
	uint32_t files_count;
	pthread_mutex_t lock;
	uint32_t next;
	bool stop;
	uint64_t sections_done, sections_count;
	struct push_session *session; /* of all threads */
	/* Files that are unpacked and parsed at once: more than there are CPUs would only slow down
	 * the aggregator, where it is on the same machine. */
	sem_t readers;
};

static enum profile_file_form import_form(const struct import_args *args)
{
	static const enum profile_file_form forms[] = { PROFILE_FILE_GUESS, PROFILE_FILE_FOLDED,
		PROFILE_FILE_PPROF };
	return forms[args->format];
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

/* One line per type: "cart.pb.gz: 120 stacks, cpu 12.4 s (12 400 000 000 nanoseconds)". */
static void import_put_report(const struct profile_file *file, struct import_file *to)
{
	const struct batch *batch = file->batch;
	const struct dict *dict = batch->dict;
	uint32_t count = dict_mark(dict).series;
	struct buf *text = &to->report;

	text_put_safe(text, to->path);
	bool is_one = file->report.samples == 1;
	buf_printf(text, ": %s %s%s, ", units_count(file->report.samples).text,
	        file->form == PROFILE_FILE_PPROF ? "sample" : "line", is_one ? "" : "s");
	buf_printf(text, "%s row%s, ", units_count(batch->rows_count).text,
	        batch->rows_count == 1 ? "" : "s");
	buf_printf(text, "at %s for %s, %s\n", units_time(batch->start_ns).text,
	        units_duration(batch->duration_ns).text, profile_file_form_name(file->form));
	for (uint32_t i = 0; i < count; i++) {
		const struct series *series = dict_get_series(dict, i);
		bool told = false;
		for (uint32_t before = 0; before < i && !told; before++) {
			const struct series *other = dict_get_series(dict, before);
			told = other->type == series->type && other->unit == series->unit;
		}
		if (told)
			continue;
		unsigned __int128 total = 0;
		for (uint32_t row = 0; row < batch->rows_count; row++) {
			const struct series *its = dict_get_series(dict, batch->rows[row].series);
			if (its->type == series->type && its->unit == series->unit)
				total += (unsigned __int128)batch->rows[row].value * its->period;
		}
		uint64_t shown = total > UINT64_MAX ? UINT64_MAX : (uint64_t)total;
		buf_put(text, "  ", 2);
		text_put_safe(text, dict_text(dict, series->type));
		buf_printf(text, " total %llu ", (unsigned long long)shown);
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

static int import_read(struct import *import, const char *path,
        const struct profile_file_options *options, struct profile_file *ret_file)
{
	while (sem_wait(&import->readers) < 0)
		; /* A signal came between. */
	int code = profile_file_read(path, options, ret_file);
	(void)sem_post(&import->readers);
	return code;
}

static int import_file(struct import *import, struct import_file *to, bool *ret_was_read)
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
	int code = import_read(import, to->path, &options, &file);
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
	else
		code = push_session_send(import->session, to->path, file.batch, progress);
	if (code == 0)
		import_put_report(&file, to);
	profile_file_fini(&file);
	return code;
}

static struct import_file *import_next(struct import *import)
{
	pthread_mutex_lock(&import->lock);
	struct import_file *file = NULL;
	if (!import->stop && import->next < import->files_count)
		file = &import->files[import->next++];
	pthread_mutex_unlock(&import->lock);
	return file;
}

static void *import_work(void *opaque)
{
	struct import *import = opaque;
	for (struct import_file *file; (file = import_next(import));) {
		bool was_read = false;
		file->code = import_file(import, file, &was_read);
		if (file->code == 0 || !was_read)
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
	cpu_set_t cpus;
	int readers = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	(void)sem_init(&import->readers, 0, (unsigned int)readers);
	for (; started + 1 < jobs; started++)
		if (pthread_create(&threads[started], NULL, import_work, import) != 0)
			break; /* Fewer threads do the same work. */
	(void)import_work(import);
	for (uint32_t i = 0; i < started; i++)
		(void)pthread_join(threads[i], NULL);
	(void)sem_destroy(&import->readers);
}

static int import_print(struct import *import)
{
	struct output output = output_of(&import->args->shared, NULL);
	AUTO_BUF text = { 0 };
	int code = 0;
	uint32_t done = 0;
	for (uint32_t i = 0; i < import->files_count; i++) {
		struct import_file *file = &import->files[i];
		if (file->code > 0 && code == 0)
			code = file->code;
		if (file->code < 0)
			remark("%s: not tried", file->path);
		if (file->code != 0)
			continue;
		done++;
		buf_put(&text, file->report.bytes, file->report.count);
		text.failed = text.failed || file->report.failed;
	}
	if (import->files_count > 1 || code)
		buf_printf(&text, "%u of %u files imported\n", done, import->files_count);
	return output_deliver(&output, &text, code);
}

static int cmd_import_run(void *opaque, const struct option_args *words)
{
	const struct import_args *args = opaque;
	struct import import = {
		.args = args,
		.now_ns = clock_unix_ns(clock_real()),
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

	autofree struct import_file *files = calloc((size_t)words->count + 1, sizeof(*files));
	if (!files)
		return complain(EXIT_CODE_FAILED, "out of memory");
	for (uint32_t i = 0; i < words->count; i++)
		files[i] = (struct import_file){ .path = words->items[i], .code = -1 };
	import.files = files;

	AUTO(client) client = NULL;
	AUTO(push_session) session = NULL;
	int code = client_open(&args->shared, &client);
	if (code == 0)
		code = push_session_open(client, &session);
	if (code == 0) {
		import.session = session;
		progress_begin("importing");
		import_run_jobs(&import);
		progress_end();
		code = import_print(&import);
	}
	for (uint32_t i = 0; i < words->count; i++)
		buf_fini(&files[i].report);
	return code;
}

const struct command cmd_import = {
	.name = "import",
	.table = &import_table,
	.args_size = sizeof(struct import_args),
	.run = cmd_import_run,
};
