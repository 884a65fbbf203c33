# Compiler flags for every file of ours: the dialect, the warnings, the sanitizers.
#
# NDEBUG is never defined. An assert guards against our own mistakes and stays on in release.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
	set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
set(CMAKE_C_FLAGS_DEBUG "-O1 -g")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
set(CMAKE_C_FLAGS_RELEASE "-O2")
set(CMAKE_C_FLAGS_MINSIZEREL "-Os")
# Only for what the compiler has to say: clang says all of it before it optimizes.
set(CMAKE_C_FLAGS_WARNINGS "-O0")

include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

add_compile_definitions(_GNU_SOURCE)
# A profiler's own stacks should be walkable by everyone, ours included.
add_compile_options(-fno-omit-frame-pointer -fstack-protector-strong)
add_link_options(-Wl,--as-needed -Wl,-z,relro,-z,now)

# Warnings apply to our files only: generated code links profleet::warnings not at all.
add_library(profleet-warnings INTERFACE)
add_library(profleet::warnings ALIAS profleet-warnings)
target_compile_options(profleet-warnings INTERFACE
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
	-Wpointer-arith -Wwrite-strings -Wcast-align -Wformat=2 -Wundef -Wvla
	-Wimplicit-fallthrough -Werror=return-type -Werror=implicit-function-declaration
	# Functions behind a struct of functions share one signature and need not use all of it.
	-Wno-unused-parameter)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
	target_compile_options(profleet-warnings INTERFACE
		-Wlogical-op -Wduplicated-cond -Wjump-misses-init
		# snprintf() into a bounded text is how we cut; and gcc, unlike clang, does not
		# accept (void) as a deliberately ignored result.
		-Wno-format-truncation -Wno-unused-result)
endif()
if(PROFLEET_WERROR)
	target_compile_options(profleet-warnings INTERFACE -Werror)
endif()

if(PROFLEET_SANITIZE)
	add_compile_options(-fsanitize=${PROFLEET_SANITIZE} -fno-sanitize-recover=all)
	add_link_options(-fsanitize=${PROFLEET_SANITIZE})
else()
	add_compile_options("$<$<NOT:$<CONFIG:Debug,Warnings>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>")
endif()

if(PROFLEET_FUZZ)
	if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
		message(FATAL_ERROR "PROFLEET_FUZZ needs clang, not ${CMAKE_C_COMPILER_ID}: "
			"use `cmake --preset fuzz`")
	endif()
	add_compile_options(-fsanitize=fuzzer-no-link)
endif()

if(PROFLEET_COVERAGE)
	add_compile_options(--coverage -fprofile-update=atomic)
	add_link_options(--coverage)
endif()
