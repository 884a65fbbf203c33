# profleet_bpf(FOLDER): bpf/NAME.bpf.c -> <build>/bpf/NAME.skel.h, which only FOLDER may include.
#
# The object goes through `bpftool gen object` so that DWARF is dropped and BTF is kept: what the
# program embeds is as small as can be.

function(profleet_bpf folder)
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bpf/*.bpf.c)
	profleet_part_target(${folder} target compiles)
	if(NOT sources)
		return()
	endif()

	find_program(PROFLEET_BPF_CLANG NAMES clang-14 clang)
	find_program(PROFLEET_BPFTOOL NAMES bpftool HINTS /usr/sbin /sbin)
	if(NOT PROFLEET_BPF_CLANG OR NOT PROFLEET_BPFTOOL)
		message(FATAL_ERROR "bpf/ needs clang and bpftool: run deploy/install-deps")
	endif()

	if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
		set(arch x86)
	elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
		set(arch arm64)
	else()
		message(FATAL_ERROR "bpf/ knows x86_64 and aarch64, not ${CMAKE_SYSTEM_PROCESSOR}")
	endif()
	set(system_include)
	if(CMAKE_LIBRARY_ARCHITECTURE)
		# <asm/types.h> lives in the host's multiarch folder, which -target bpf does not search.
		set(system_include -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
	endif()
	set(werror)
	if(PROFLEET_WERROR)
		set(werror -Werror)
	endif()

	set(out ${CMAKE_BINARY_DIR}/bpf)
	file(MAKE_DIRECTORY ${out})
	set(skeletons)
	foreach(source IN LISTS sources)
		get_filename_component(name ${source} NAME)
		string(REGEX REPLACE "\\.bpf\\.c$" "" name ${name})
		add_custom_command(
			OUTPUT ${out}/${name}.raw.o
			COMMAND ${PROFLEET_BPF_CLANG} -target bpf -O2 -g -std=gnu17 -mcpu=v3
				-D__TARGET_ARCH_${arch} -Wall -Wextra -Wno-unused-parameter
				-Wno-missing-declarations ${werror}
				-I${CMAKE_SOURCE_DIR} ${system_include}
				-MD -MF ${out}/${name}.d -MT ${out}/${name}.raw.o
				-c ${source} -o ${out}/${name}.raw.o
			DEPENDS ${source}
			DEPFILE ${out}/${name}.d
			COMMENT "Compiling for the kernel: bpf/${name}.bpf.c"
			VERBATIM)
		add_custom_command(
			OUTPUT ${out}/${name}.skel.h
			COMMAND ${PROFLEET_BPFTOOL} gen object ${out}/${name}.bpf.o ${out}/${name}.raw.o
			COMMAND ${PROFLEET_BPFTOOL} gen skeleton ${out}/${name}.bpf.o name ${name}
				> ${out}/${name}.skel.h.new
			COMMAND ${CMAKE_COMMAND} -E rename ${out}/${name}.skel.h.new ${out}/${name}.skel.h
			DEPENDS ${out}/${name}.raw.o
			BYPRODUCTS ${out}/${name}.bpf.o
			COMMENT "Skeleton: bpf/${name}.skel.h")
		list(APPEND skeletons ${out}/${name}.skel.h)
	endforeach()

	add_custom_target(bpf DEPENDS ${skeletons})
	add_dependencies(programs bpf)
	if(compiles)
		add_dependencies(${target} bpf)
		# SYSTEM: the warnings of generated code are not ours.
		target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_BINARY_DIR})
	endif()
endfunction()
