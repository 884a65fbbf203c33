# Man pages and completions, made from the same tables the programs parse their command lines by, so
# that they cannot disagree. Written pages in deploy/man/*.[1-8] are installed as they are.

file(GLOB pages CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/deploy/man/*.[1-8])
foreach(page IN LISTS pages)
	string(REGEX MATCH "[1-8]$" section ${page})
	install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

# These files say that the programs know --help-man and `profleet completion SHELL`.
if(NOT PROFLEET_DOCS OR NOT EXISTS ${CMAKE_SOURCE_DIR}/query/cmd_completion.c)
	return()
endif()

set(documents)

# profleet_document(OUTPUT PROGRAM argument...): what PROGRAM prints becomes OUTPUT.
function(profleet_document output program)
	list(JOIN ARGN " " arguments)
	add_custom_command(
		OUTPUT ${output}
		COMMAND ${program} ${ARGN} > ${output}.new
		COMMAND ${CMAKE_COMMAND} -E rename ${output}.new ${output}
		DEPENDS ${program}
		COMMENT "Asking ${program} for ${arguments}")
	set(documents ${documents} ${output} PARENT_SCOPE)
endfunction()

set(folder ${CMAKE_BINARY_DIR}/documents)
file(MAKE_DIRECTORY ${folder})
foreach(program profleet profleet-agent profleet-aggregator)
	if(TARGET ${program})
		profleet_document(${folder}/${program}.1 ${program} --help-man)
		install(FILES ${folder}/${program}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
	endif()
endforeach()
if(TARGET profleet)
	profleet_document(${folder}/profleet.bash profleet completion bash)
	profleet_document(${folder}/_profleet profleet completion zsh)
	profleet_document(${folder}/profleet.fish profleet completion fish)
	install(FILES ${folder}/profleet.bash RENAME profleet
		DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
	install(FILES ${folder}/_profleet
		DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
	install(FILES ${folder}/profleet.fish
		DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

add_custom_target(documents ALL DEPENDS ${documents})
add_dependencies(programs documents)
