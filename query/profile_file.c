/*
 * The whole file is in memory while it is parsed: both forms need random access or whole lines, and
 * a file larger than the bound is refused before it is read.
 */

#include "query/profile_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/gzip.h"
#include "core/whole_file.h"
#include "profile/folded.h"
#include "query/complain.h"

#define PROFILE_FILE_SNIFF 4096

const char *profile_file_form_name(enum profile_file_form form)
{
	return form == PROFILE_FILE_PPROF ? "pprof" : "folded";
}

static bool profile_file_ends(const char *path, const char *ending)
{
	size_t count = strlen(path), ending_count = strlen(ending);
	return count > ending_count && strcmp(path + count - ending_count, ending) == 0;
}

enum profile_file_form profile_file_form_of(const char *path)
{
	static const char *const pprof[] = { ".pprof", ".pb.gz", ".pb", ".prof", ".pprof.gz" };
	static const char *const folded[] = { ".folded", ".collapsed", ".stacks", ".txt",
		".folded.gz" };
	for (size_t i = 0; i < COUNT_OF(pprof); i++)
		if (profile_file_ends(path, pprof[i]))
			return PROFILE_FILE_PPROF;
	for (size_t i = 0; i < COUNT_OF(folded); i++)
		if (profile_file_ends(path, folded[i]))
			return PROFILE_FILE_FOLDED;
	return PROFILE_FILE_GUESS;
}

/* What is gzipped is unpacked, so that folded text may be, too. */
static int profile_file_unpack(const char *path, struct buf *bytes)
{
	if (!gzip_is_gzip(bytes->bytes, bytes->count))
		return 0;
	AUTO_BUF unpacked = { 0 };
	int result = gzip_unpack(bytes->bytes, bytes->count, PROFILE_FILE_BYTES_MAX, &unpacked);
	if (result < 0)
		return complain(EXIT_CODE_FAILED, "%s: %s", path,
		        result == -EBADMSG ? "starts as gzip and is broken or cut off"
		        : result == -E2BIG ? "larger than this reader takes when unpacked; split it"
		                           : strerrordesc_np(-result));
	struct buf packed = *bytes;
	*bytes = unpacked;
	unpacked = packed;
	return 0;
}

/* Bytes that no text has: a pprof. */
static enum profile_file_form profile_file_sniff(const struct buf *bytes)
{
	size_t count = bytes->count < PROFILE_FILE_SNIFF ? bytes->count : PROFILE_FILE_SNIFF;
	for (size_t i = 0; i < count; i++)
		if (bytes->bytes[i] < 0x09)
			return PROFILE_FILE_PPROF;
	return PROFILE_FILE_FOLDED;
}

static int profile_file_slurp(const char *path, struct buf *to)
{
	bool is_stdin = strcmp(path, "-") == 0;
	autoclose int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain(
		        errno == EACCES || errno == EPERM ? EXIT_CODE_DENIED : EXIT_CODE_FAILED,
		        "%s: %s", path, strerrordesc_np(errno));

	struct stat stat_now;
	if (fstat(fd, &stat_now) == 0 && S_ISDIR(stat_now.st_mode))
		return complain(EXIT_CODE_USAGE, "%s: a folder; name a file", path);
	int result = whole_file_read(fd, PROFILE_FILE_BYTES_MAX, to);
	if (result == -EFBIG || result == -ENOMEM)
		return complain(EXIT_CODE_FAILED,
		        "%s: larger than %llu MiB or than memory; split the file", path,
		        PROFILE_FILE_BYTES_MAX >> 20);
	if (result < 0)
		return complain(EXIT_CODE_FAILED, "%s: %s", path, strerrordesc_np(-result));
	return 0;
}

int profile_file_split_label(const char *text, size_t *ret_name_count, const char **ret_value)
{
	const char *equals = strchr(text, '=');
	if (!equals || equals == text)
		return -EINVAL;
	*ret_name_count = (size_t)(equals - text);
	*ret_value = equals + 1;
	return 0;
}

static int profile_file_labels(struct dict *dict, const struct profile_file_options *options,
        struct label labels[DICT_LABELS_MAX])
{
	if (options->labels_count > DICT_LABELS_MAX)
		return complain(EXIT_CODE_USAGE, "%u labels; a series may have %d",
		        options->labels_count, DICT_LABELS_MAX);
	for (uint32_t i = 0; i < options->labels_count; i++) {
		const char *text = options->labels[i], *value;
		size_t name_count;
		if (profile_file_split_label(text, &name_count, &value) < 0)
			return complain(
			        EXIT_CODE_USAGE, "--label %s: not a label; write NAME=VALUE", text);
		if (dict_string(dict, text, name_count, &labels[i].name) < 0 ||
		        dict_cstring(dict, value, &labels[i].value) < 0)
			return complain(EXIT_CODE_USAGE, "--label %.64s: longer than %d bytes",
			        text, DICT_STRING_BYTES_MAX);
		for (uint32_t before = 0; before < i; before++)
			if (labels[before].name == labels[i].name)
				return complain(EXIT_CODE_USAGE, "--label %s: given twice", text);
	}
	return 0;
}

static const char *profile_file_unit(const struct profile_file_options *options, const char *type)
{
	if (options->unit)
		return options->unit;
	return strcmp(type, "cpu") == 0 || strcmp(type, "offcpu") == 0 ? "nanoseconds" : "count";
}

static uint64_t profile_file_lines(const struct buf *bytes)
{
	uint64_t lines = 0;
	for (size_t i = 0; i < bytes->count; i++)
		lines += bytes->bytes[i] == '\n';
	bool unended = bytes->count > 0 && bytes->bytes[bytes->count - 1] != '\n';
	return lines + unended;
}

static int profile_file_parse_folded(const char *path, const struct buf *bytes,
        const struct profile_file_options *options, const struct label *labels,
        struct profile_file *file)
{
	const char *type = options->type          ? options->type
	                   : options->folded_type ? options->folded_type
	                                          : "value";
	struct series series = { .period = 1 };
	uint32_t series_id;
	if (dict_cstring(file->dict, type, &series.type) < 0 ||
	        dict_cstring(file->dict, profile_file_unit(options, type), &series.unit) < 0 ||
	        dict_series(file->dict, &series, labels, options->labels_count, &series_id) < 0)
		return complain(EXIT_CODE_USAGE, "%s: type, unit or labels are too long", path);

	uint64_t skipped = 0;
	struct parse_error error = { 0 };
	int result = folded_parse(
	        (const char *)bytes->bytes, bytes->count, file->batch, series_id, &skipped, &error);
	if (result == -EBADMSG)
		return complain(EXIT_CODE_FAILED, "%s: %s", path, error.text);
	if (result < 0)
		return complain(EXIT_CODE_FAILED, "%s: %s", path,
		        result == -ENOSPC ? "too many distinct stacks for one file; split it"
		                          : strerrordesc_np(-result));
	file->report.samples = profile_file_lines(bytes) - skipped;
	if (skipped)
		snprintf(file->report.notes[file->report.notes_count++],
		        sizeof(file->report.notes[0]),
		        skipped == 1 ? "%llu line is empty, a comment or of value 0, and not kept"
		                     : "%llu lines are empty, comments or of value 0, and not kept",
		        (unsigned long long)skipped);
	return 0;
}

static int profile_file_parse_pprof(const char *path, const struct buf *bytes,
        const struct profile_file_options *options, const struct label *labels,
        struct profile_file *file)
{
	struct parse_error error = { 0 };
	struct pprof_options pprof = {
		.type = options->type,
		.labels = labels,
		.labels_count = options->labels_count,
	};
	int result = pprof_parse(
	        bytes->bytes, bytes->count, pprof, file->batch, &file->report, &error);
	if (result == -EBADMSG || (result < 0 && error.text[0]))
		return complain(EXIT_CODE_FAILED, "%s: %s", path, error.text);
	if (result < 0)
		return complain(EXIT_CODE_FAILED, "%s: %s", path,
		        result == -ENOSPC  ? "too many distinct stacks for one file; split it"
		        : result == -E2BIG ? "larger than this reader takes when unpacked; split it"
		                           : strerrordesc_np(-result));
	return 0;
}

int profile_file_read(
        const char *path, const struct profile_file_options *options, struct profile_file *ret_file)
{
	AUTO_BUF bytes = { 0 };
	int code = profile_file_slurp(path, &bytes);
	if (code == 0)
		code = profile_file_unpack(path, &bytes);
	if (code)
		return code;

	struct profile_file file = { .form = options->form };
	if (file.form == PROFILE_FILE_GUESS)
		file.form = profile_file_form_of(path);
	if (file.form == PROFILE_FILE_GUESS)
		file.form = profile_file_sniff(&bytes);
	file.dict = dict_new(dict_limits_default);
	file.batch = file.dict ? batch_new(file.dict) : NULL;
	struct label labels[DICT_LABELS_MAX];
	if (!file.batch)
		code = complain(EXIT_CODE_FAILED, "out of memory");
	if (code == 0)
		code = profile_file_labels(file.dict, options, labels);
	if (code == 0)
		code = file.form == PROFILE_FILE_PPROF
		               ? profile_file_parse_pprof(path, &bytes, options, labels, &file)
		               : profile_file_parse_folded(path, &bytes, options, labels, &file);
	if (code == 0) {
		int result = batch_settle(file.batch);
		if (result < 0)
			code = complain(EXIT_CODE_FAILED, "%s: %s", path,
			        result == -EOVERFLOW ? "values add up to more than 64 bits hold"
			                             : strerrordesc_np(-result));
	}
	if (code) {
		profile_file_fini(&file);
		return code;
	}
	*ret_file = file;
	return 0;
}

void profile_file_fini(struct profile_file *file)
{
	batch_free(file->batch);
	dict_free(file->dict);
	*file = (struct profile_file){ 0 };
}
