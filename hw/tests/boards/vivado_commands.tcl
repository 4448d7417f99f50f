# Stand-ins for Vivado's commands, written from its documents and from public scripts: they take the options and
# properties that are listed here and no others, remember what they are told, and write each call to stdout, fields
# separated by the byte 0x1f. A command without a stand-in is an error.
#
#   tclsh vivado_commands.tcl SCRIPT STEP PORTS FAULT
#
# PORTS: a list of top, {port width ...}. FAULT: what goes otherwise, as "run impl_1", "slack WNS", "interface s_axil" (not
# found), "bare" (the packager adds no memory map and no polarity of its own).

set ::ports [lindex $argv 2]
set ::fault [lindex $argv 3]
array set ::files {sources_1 {} constrs_1 {}}
array set ::properties {}
set ::core ""

proc say {args} {
    puts [join $args \x1f]
}

# flags: options without a value; options: those with one; least, most: how many other arguments.
proc command {name flags options least most body} {
    proc $name {args} [string map [list @NAME $name @FLAGS $flags @OPTIONS $options @LEAST $least @MOST $most] {
        say @NAME {*}$args
        array set option {}
        set words {}
        for {set i 0} {$i < [llength $args]} {incr i} {
            set word [lindex $args $i]
            if {$word in {@FLAGS}} {
                set option($word) 1
            } elseif {$word in {@OPTIONS}} {
                if {[incr i] == [llength $args]} { error "@NAME: $word has no value" }
                set option($word) [lindex $args $i]
            } elseif {[string match -* $word] && ![string is double $word]} {
                error "@NAME: unknown option $word"
            } else {
                lappend words $word
            }
        }
        if {[llength $words] < @LEAST || [llength $words] > @MOST} {
            error "@NAME: [llength $words] arguments, not @LEAST to @MOST"
        }
    }]$body
}

proc needs {value kind} {
    if {![string match $kind:* $value]} { error "'$value' is no $kind" }
    return [string range $value [string length $kind:] end]
}

# -- project

command create_project {-force -in_memory} {-part} 1 2 {
    if {![info exists option(-part)]} { error "create_project: no part" }
    set ::project [lindex $words 0]
}

command current_project {} {} 0 1 { return $::project }

command get_filesets {} {} 1 1 {
    if {![info exists ::files([lindex $words 0])]} { error "no fileset [lindex $words 0]" }
    return fileset:[lindex $words 0]
}

command add_files {-norecurse} {-fileset} 1 1 {
    foreach path [lindex $words 0] {
        if {![file isfile $path]} { error "add_files: there is no $path" }
        if {[file pathtype $path] ne "absolute"} { error "add_files: $path depends on the working folder" }
        lappend ::files($option(-fileset)) $path
    }
}

command get_files {} {-of_objects} 1 1 {
    set sets [array names ::files]
    if {[info exists option(-of_objects)]} { set sets [needs $option(-of_objects) fileset] }
    set found {}
    foreach set $sets {
        foreach path $::files($set) {
            if {[string match [lindex $words 0] $path]} { lappend found file:$path }
        }
    }
    if {![llength $found]} { error "get_files: nothing matches [lindex $words 0]" }
    return $found
}

command update_compile_order {} {-fileset} 0 0 {}

set ::known {
    fileset {top} file {file_type USED_IN} run {{STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS}} port {PACKAGE_PIN IOSTANDARD}
    core {name display_name version description supported_families} design {CFGBVS CONFIG_VOLTAGE} parameter {value} busif {slave_memory_map_ref} block {range}
    pin {driver_value}
}

command set_property {} {-dict -name -value -objects} 0 3 {
    if {[info exists option(-name)]} {
        set pairs [list $option(-name) $option(-value)]
        set objects $option(-objects)
    } elseif {[info exists option(-dict)]} {
        set pairs $option(-dict)
        set objects [lindex $words 0]
    } else {
        set pairs [lrange $words 0 1]
        set objects [lindex $words 2]
    }
    if {![llength $objects]} { error "set_property: no objects" }
    foreach object $objects {
        set kind [lindex [split $object :] 0]
        foreach {name value} $pairs {
            if {$name ni [dict get $::known $kind]} { error "a $kind has no property $name" }
            set ::properties($object,$name) $value
        }
    }
}

command get_property {} {} 2 2 {
    lassign $words name object
    set run [needs $object run]
    set failed [expr {$::fault eq "run $run"}]
    switch -- $name {
        PROGRESS { return [expr {$failed ? "43%" : "100%"}] }
        STATUS { return [expr {$failed ? "synth_design ERROR" : "Complete!"}] }
        STATS.WNS - STATS.WHS { return [expr {"STATS.[lindex $::fault end]" eq $name ? -0.217 : 0.102}] }
        DIRECTORY { return [file join [file dirname [info script]] runs $run] }
    }
    error "a run has no property $name"
}

# -- runs: constraints are read with the ports of the top

proc top {} {
    return $::properties(fileset:sources_1,top)
}

command get_runs {} {} 1 1 {
    if {[lindex $words 0] ni {synth_1 impl_1}} { error "no run [lindex $words 0]" }
    return run:[lindex $words 0]
}

command launch_runs {} {-jobs -to_step} 1 1 {
    set run [lindex $words 0]
    if {$run eq "synth_1"} {
        if {![dict exists $::ports [top]]} { error "no module [top]" }
        foreach path $::files(constrs_1) { source $path }
        set ::synthesised [top]
    } elseif {![info exists ::synthesised] || $::synthesised ne [top]} {
        error "launch_runs: synthesis first"
    }
    set ::launched $run
    if {[info exists option(-to_step)]} {
        if {$option(-to_step) ne "write_bitstream"} { error "no step $option(-to_step)" }
        set folder [file join [file dirname [info script]] runs $run]
        file mkdir $folder
        close [open [file join $folder [top].bit] w]
    }
}

command wait_on_run {} {-timeout} 1 1 {
    if {![info exists ::launched] || $::launched ne [lindex $words 0]} { error "[lindex $words 0] was not launched" }
}

command open_run {} {-name} 1 1 {
    if {$::launched ne [lindex $words 0]} { error "[lindex $words 0] was not run" }
    set ::opened [lindex $words 0]
}

command report_utilization {-hierarchical} {-file} 0 0 { close [open $option(-file) w] }

command report_timing_summary {} {-file} 0 0 {
    if {$::opened ne "impl_1"} { error "timing before routing" }
    close [open $option(-file) w]
}

# -- constraints

command get_ports {} {} 1 1 {
    set found {}
    foreach pattern [lindex $words 0] {
        set before [llength $found]
        foreach {port width} [dict get $::ports [top]] {
            set bits [list $port]
            for {set i 0} {$width > 1 && $i < $width} {incr i} { lappend bits "$port\[$i\]" }
            foreach bit $bits {
                # A bit is written in brackets, which a pattern would take for a set.
                if {$bit eq $pattern || [string match [string map {[ \\[ ] \\]} $pattern] $bit]} { lappend found port:$bit }
            }
        }
        if {[llength $found] == $before} { error "get_ports: [top] has no port $pattern" }
    }
    return $found
}

command current_design {} {} 0 1 { return design:[top] }

command create_clock {} {-name -period} 1 1 {
    if {$option(-period) <= 0} { error "create_clock: period $option(-period)" }
    needs [lindex $words 0] port
}

command set_false_path {} {-from -to} 0 0 {}

# -- packager: interfaces by the names of ports, as UG1118 has it

namespace eval ipx {}

command ipx::package_project {-import_files -force} {-root_dir -vendor -library -taxonomy} 0 0 {
    set ::core core:1
    array unset ::interfaces
    foreach {port width} [dict get $::ports [top]] {
        foreach {end kind} {_awvalid lite _tvalid stream} {
            if {[string match *$end $port]} {
                set ::interfaces([string range $port 0 end-[string length $end]]) $kind
            }
        }
        if {[string match *clk $port]} { set ::interfaces($port) clock }
        if {[string match *resetn $port]} { set ::interfaces($port) reset }
    }
    if {[lindex $::fault 0] eq "interface"} { unset ::interfaces([lindex $::fault 1]) }
    if {$::fault eq "bare"} { return }
    foreach {name kind} [array get ::interfaces] {
        if {$kind eq "reset"} { set ::parameters($name,POLARITY) 1 }
        if {$kind eq "lite"} {
            set ::maps($name) 1
            set ::blocks($name,reg0) 1
        }
    }
}

command ipx::current_core {} {} 0 0 { return $::core }

command ipx::get_bus_interfaces {} {-of_objects} 1 1 {
    needs $option(-of_objects) core
    return [expr {[info exists ::interfaces([lindex $words 0])] ? "busif:[lindex $words 0]" : ""}]
}

command ipx::get_ports {} {-of_objects} 1 1 {
    needs $option(-of_objects) core
    return [expr {[dict exists $::ports [top] [lindex $words 0]] ? "pin:[lindex $words 0]" : ""}]
}

command ipx::associate_bus_interfaces {} {-busif -clock -reset} 1 1 {
    needs [lindex $words 0] core
    foreach {name kinds} {-busif {lite stream} -clock clock -reset reset} {
        if {[info exists option($name)] && $::interfaces($option($name)) ni $kinds} { error "wrong $name" }
    }
}

command ipx::get_bus_parameters {} {-of_objects} 1 1 {
    set object [needs $option(-of_objects) busif],[lindex $words 0]
    return [expr {[info exists ::parameters($object)] ? "parameter:$object" : ""}]
}

command ipx::add_bus_parameter {} {} 2 2 {
    set object [needs [lindex $words 1] busif],[lindex $words 0]
    set ::parameters($object) 1
    return parameter:$object
}

command ipx::get_memory_maps {} {-of_objects} 1 1 {
    needs $option(-of_objects) core
    return [expr {[info exists ::maps([lindex $words 0])] ? "map:[lindex $words 0]" : ""}]
}

command ipx::add_memory_map {} {} 2 2 {
    needs [lindex $words 1] core
    set ::maps([lindex $words 0]) 1
    return map:[lindex $words 0]
}

command ipx::get_address_blocks {} {-of_objects} 1 1 {
    set object [needs $option(-of_objects) map],[lindex $words 0]
    return [expr {[info exists ::blocks($object)] ? "block:$object" : ""}]
}

command ipx::add_address_block {} {} 2 2 {
    set object [needs [lindex $words 1] map],[lindex $words 0]
    set ::blocks($object) 1
    return block:$object
}

foreach name {create_xgui_files update_checksums check_integrity save_core} {
    command ipx::$name {} {} 1 1 { needs [lindex $words 0] core }
}

set script [lindex $argv 0]
set argv [lindex $argv 1]
set argc [llength $argv]
if {[catch {source $script} message]} {
    puts stderr $message
    exit 1
}
foreach name [lsort [array names ::properties]] {
    say property $name $::properties($name)
}
