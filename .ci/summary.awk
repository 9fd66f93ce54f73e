# Adds up what `.ci/test` prints for each test program, and names what failed.
/^== once more, alone: /  { again = 1 }
/^== flaky, /             { flaky = substr($0, 4) }
again                     { next }
/^test .* \.\.\. FAILED$/ { failed_names = failed_names "\n    " $2 }
/^skipped: /              { skips = skips "\n    " substr($0, 10) }
/^test result: /          { programs++; passed += $4; failed += $6; ignored += $8 }
/^error: could not compile/ { broken = 1 }
END {
    printf "\n%d passed, %d failed, %d ignored, in %d test programs\n", passed, failed, ignored, programs
    if (failed_names) print "  failed:" failed_names
    if (flaky)        print "  " flaky
    if (skips)        print "  skipped:" skips
    if (broken)       print "  did not compile"
}
