/* kallsyms: made-up symbol files with known addresses, and the file of the running kernel. */

#include "agent/kallsyms.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/test.h"

static struct kallsyms *load_text(const char *text)
{
	TEST_DIR(dir);
	char path[300];
	struct kallsyms *kallsyms = NULL;

	snprintf(path, sizeof(path), "%s/kallsyms", dir.path);
	test_file_write(path, text, strlen(text));
	CHECK_OK(kallsyms_load(path, &kallsyms));
	return kallsyms;
}

static void expect(
        const struct kallsyms *kallsyms, uint64_t address, const char *module, const char *name)
{
	struct kernel_symbol symbol = { 0 };

	if (!name) {
		assert_false(kallsyms_find(kallsyms, address, &symbol));
		return;
	}
	assert_true(kallsyms_find(kallsyms, address, &symbol));
	assert_string_equal(symbol.name, name);
	assert_string_equal(symbol.module, module);
}

static const char small_kernel[] =
        "ffffffff81000100 T do_syscall\n"
        "ffffffff81000000 t lower\n"
        "ffffffff81000200 W weak_text\n"
        "ffffffff81000300 D some_data\n"
        "ffffffff81000310 d more_data\n"
        "ffffffff81000400 t behind_data\n"
        "ffffffffc0000000 t nft_do_chain\t[nf_tables]\n"
        "ffffffffc0000040 t nft_end\t[nf_tables]\n"
        "ffffffffc0400000 t bpf_prog_6deef7357e7b4530_sd_fw_egress\t[bpf]\n"
        "0000000000000000 A fixed_percpu_data\n";

static void an_address_belongs_to_the_symbol_before_it(void **state)
{
	AUTO(kallsyms) kallsyms = load_text(small_kernel);

	assert_true(kallsyms_has_addresses(kallsyms));
	expect(kallsyms, 0xffffffff81000000, "vmlinux", "lower");
	expect(kallsyms, 0xffffffff810000ff, "vmlinux", "lower");
	expect(kallsyms, 0xffffffff81000100, "vmlinux", "do_syscall");
	expect(kallsyms, 0xffffffff810002ff, "vmlinux", "weak_text");
}

static void an_address_in_no_text_has_no_name(void **state)
{
	AUTO(kallsyms) kallsyms = load_text(small_kernel);

	expect(kallsyms, 0, NULL, NULL);
	expect(kallsyms, 0xffffffff80ffffff, NULL, NULL);
	expect(kallsyms, 0xffffffff81000300, NULL, NULL);
	expect(kallsyms, 0xffffffff81000320, NULL, NULL);
	expect(kallsyms, 0xffffffff81000400, "vmlinux", "behind_data");
	/* A mebibyte behind the last symbol of a module there is nothing of it any more. */
	expect(kallsyms, 0xffffffffc0140000, NULL, NULL);
	expect(kallsyms, UINT64_MAX, NULL, NULL);
}

static void modules_and_bpf_programs_are_named(void **state)
{
	AUTO(kallsyms) kallsyms = load_text(small_kernel);

	expect(kallsyms, 0xffffffffc0000010, "nf_tables", "nft_do_chain");
	expect(kallsyms, 0xffffffffc0000050, "nf_tables", "nft_end");
	expect(kallsyms, 0xffffffffc0400004, "bpf", "bpf_prog_6deef7357e7b4530_sd_fw_egress");
}

static void of_several_names_the_public_one_is_shown(void **state)
{
	AUTO(kallsyms) kallsyms = load_text("ffffffff81000000 t __local\n"
	                                    "ffffffff81000000 T __x64_sys_read\n"
	                                    "ffffffff81000000 T ksys_read\n"
	                                    "ffffffff81000000 D data_there\n"
	                                    "ffffffff81000000 W weak\n");

	expect(kallsyms, 0xffffffff81000000, "vmlinux", "ksys_read");
}

static void hidden_addresses_are_noticed(void **state)
{
	AUTO(kallsyms) kallsyms = load_text(
	        "0000000000000000 T _stext\n0000000000000000 t lower\n");

	assert_false(kallsyms_has_addresses(kallsyms));
	expect(kallsyms, 0, NULL, NULL);
	expect(kallsyms, 0xffffffff81000000, NULL, NULL);
}

static void broken_files_are_refused(void **state)
{
	static const char *const texts[] = { "", "hello\n", "ffffffff81000000\n",
		"ffffffff81000000 T \n", "fffffffff81000000 T seventeen_digits\n", " T name\n",
		"ffffffff81000000Tx name\n" };
	TEST_DIR(dir);
	char path[300];

	snprintf(path, sizeof(path), "%s/kallsyms", dir.path);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct kallsyms *kallsyms = NULL;

		test_file_write(path, texts[i], strlen(texts[i]));
		assert_int_equal(kallsyms_load(path, &kallsyms), -EBADMSG);
		assert_null(kallsyms);
	}
	struct kallsyms *kallsyms = NULL;
	assert_int_equal(kallsyms_load("/nonexistent/kallsyms", &kallsyms), -ENOENT);
}

static void a_broken_line_does_not_hide_the_others(void **state)
{
	AUTO(kallsyms) kallsyms = load_text("nonsense\nffffffff81000000 t good");

	expect(kallsyms, 0xffffffff81000000, "vmlinux", "good");
}

static void the_running_kernel_is_named(void **state)
{
	AUTO(kallsyms) kallsyms = NULL;
	FILE *file;
	char line[512];
	uint32_t found = 0;

	CHECK_OK(kallsyms_load("/proc/kallsyms", &kallsyms));
	if (!kallsyms_has_addresses(kallsyms))
		skip();
	file = fopen("/proc/kallsyms", "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		struct kernel_symbol symbol;
		char name[256];
		unsigned long long address;
		char type;

		if (sscanf(line, "%llx %c %255s", &address, &type, name) != 3 || address == 0)
			continue;
		if (type != 'T' || strcmp(name, "schedule"))
			continue;
		assert_true(kallsyms_find(kallsyms, address + 1, &symbol));
		assert_string_equal(symbol.name, "schedule");
		assert_string_equal(symbol.module, "vmlinux");
		found++;
	}
	fclose(file);
	assert_int_equal(found, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_belongs_to_the_symbol_before_it),
		cmocka_unit_test(an_address_in_no_text_has_no_name),
		cmocka_unit_test(modules_and_bpf_programs_are_named),
		cmocka_unit_test(of_several_names_the_public_one_is_shown),
		cmocka_unit_test(hidden_addresses_are_noticed),
		cmocka_unit_test(broken_files_are_refused),
		cmocka_unit_test(a_broken_line_does_not_hide_the_others),
		cmocka_unit_test(the_running_kernel_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
