// Behaviour of ECP5 cells that have no model in yosys, or one that Verilator makes too much of, for the modes that
// synth_ecp5 uses. All else stops Verilator or the simulation: a parameter that is not declared here or has another
// value, a pin that is not declared here, an input outside what is described.

// Look-up table. As an index: as the tree of multiplexers that yosys has, it takes a third more C++.
module LUT4(input A, B, C, D, output Z);
    parameter [15:0] INIT = 16'd0;
    assign Z = INIT[{D, C, B, A}];
endmodule

// Block memory of 1024 words of 18 bits. Ports of 18 bits or less read and write; one of 36 bits writes as port A, over
// DIA (low) and DIB, or reads as port B, over DOA (low) and DOB. Reads take one clock.
// What one port reads of bits that the other one writes in the same clock is not defined: here they come inverted.
module DP16KD(
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
    DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
    DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
    DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
    DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";  // of no effect: a reset stops the simulation
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB";
    parameter GSR = "DISABLED";
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0;
    parameter [319:0] INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0;
    parameter [319:0] INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0;
    parameter [319:0] INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0;
    parameter [319:0] INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0, INITVAL_18 = 0;
    parameter [319:0] INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0;
    parameter [319:0] INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0;
    parameter [319:0] INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0;
    parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0;
    parameter [319:0] INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0, INITVAL_30 = 0, INITVAL_31 = 0;
    parameter [319:0] INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0;
    parameter [319:0] INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0;
    parameter [319:0] INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;

    function has_width(input integer width);
        has_width = width == 1 || width == 2 || width == 4 || width == 9 || width == 18 || width == 36;
    endfunction
    if (!has_width(DATA_WIDTH_A) || !has_width(DATA_WIDTH_B)) $fatal(1, "DP16KD: data width is not modelled");
    if (REGMODE_A != "NOREG" && REGMODE_A != "OUTREG" || REGMODE_B != "NOREG" && REGMODE_B != "OUTREG")
        $fatal(1, "DP16KD: register mode is not modelled");
    if (DATA_WIDTH_B == 36 && REGMODE_A != REGMODE_B) $fatal(1, "DP16KD: half an output register is not modelled");
    if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000") $fatal(1, "DP16KD: chip select is not modelled");
    if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB") $fatal(1, "DP16KD: inverted clock is not modelled");
    if (GSR != "DISABLED") $fatal(1, "DP16KD: global reset is not modelled");
    if (WRITEMODE_A != "NORMAL" && WRITEMODE_A != "WRITETHROUGH" && WRITEMODE_A != "READBEFOREWRITE" ||
        WRITEMODE_B != "NORMAL" && WRITEMODE_B != "WRITETHROUGH" && WRITEMODE_B != "READBEFOREWRITE")
        $fatal(1, "DP16KD: write mode is not modelled");

    // A row is two words of two bytes of nine bits. A port narrower than a byte leaves the ninth bit out.
    function [5:0] place(input integer width, input [4:0] address);
        place = (width < 36 ? 18 * address[4] : 0) + (width < 18 ? 9 * address[3] : 0) +
            (width < 9 ? 4 * address[2] : 0) + (width < 4 ? 2 * address[1] : 0) + (width < 2 ? address[0] : 0);
    endfunction
    // Ports of whole words have byte enables in place of the lowest address bits.
    function [35:0] enabled(input integer width, input [3:0] address);
        enabled = width == 36 ? {{9{address[3]}}, {9{address[2]}}, {9{address[1]}}, {9{address[0]}}}
            : width == 18 ? {18'd0, {9{address[1]}}, {9{address[0]}}} : (36'd1 << width) - 36'd1;
    endfunction

    wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [17:0] low = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
        DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] high = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
        DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [8:0] row_a = address_a[13:5], row_b = address_b[13:5];
    wire [5:0] place_a = place(DATA_WIDTH_A, address_a[4:0]), place_b = place(DATA_WIDTH_B, address_b[4:0]);
    wire write_a = CEA & WEA, write_b = CEB & WEB;
    wire [35:0] mask_a = write_a ? enabled(DATA_WIDTH_A, address_a[3:0]) << place_a : 36'd0;
    wire [35:0] mask_b = write_b ? enabled(DATA_WIDTH_B, address_b[3:0]) << place_b : 36'd0;
    wire [35:0] data_a = {DATA_WIDTH_A == 36 ? high : 18'd0, low} << place_a;
    wire [35:0] data_b = {18'd0, high} << place_b;

    localparam [20479:0] INITIAL = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37,
        INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E,
        INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25,
        INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C,
        INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13,
        INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
        INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
        INITVAL_00
    };
    reg [35:0] memory [0:511];
    reg [35:0] read_a = 0, read_b = 0;
    reg [35:0] held_a = 0, held_b = 0;
    wire [35:0] out_a = REGMODE_A == "OUTREG" ? held_a : read_a, out_b = REGMODE_B == "OUTREG" ? held_b : read_b;
    integer i;
    initial for (i = 0; i < 512; i = i + 1) memory[i] = {INITIAL[40 * i + 20 +: 18], INITIAL[40 * i +: 18]};

    wire same = row_a == row_b;
    wire [35:0] old_a = memory[row_a] ^ (same ? mask_b : 36'd0), old_b = memory[row_b] ^ (same ? mask_a : 36'd0);
    wire [35:0] new_a = old_a & ~mask_a | data_a & mask_a, new_b = old_b & ~mask_b | data_b & mask_b;
    always @(posedge CLKA) begin
        if (|mask_a) memory[row_a] <= new_a;
        if (CEA && !(write_a && WRITEMODE_A == "NORMAL"))
            read_a <= (WRITEMODE_A == "WRITETHROUGH" ? new_a : old_a) >> place_a;
        if (OCEA) held_a <= read_a;
        if (RSTA) $fatal(1, "DP16KD: reset is not modelled");
        if (CSA2 | CSA1 | CSA0) $fatal(1, "DP16KD: chip select is not modelled");
        if (|mask_a && |mask_b && same) $fatal(1, "DP16KD: both ports writing a row is not modelled");
        if (|mask_a && !CLKB && CEB) $fatal(1, "DP16KD: clocks that differ are not modelled");
    end
    always @(posedge CLKB) begin
        if (|mask_b) memory[row_b] <= new_b;
        if (CEB && !(write_b && WRITEMODE_B == "NORMAL"))
            read_b <= (WRITEMODE_B == "WRITETHROUGH" ? new_b : old_b) >> place_b;
        if (OCEB) held_b <= read_b;
        if (RSTB) $fatal(1, "DP16KD: reset is not modelled");
        if (CSB2 | CSB1 | CSB0) $fatal(1, "DP16KD: chip select is not modelled");
        if (write_b && DATA_WIDTH_B == 36) $fatal(1, "DP16KD: writing 36 bits by port B is not modelled");
        if (|mask_b && !CLKA && CEA) $fatal(1, "DP16KD: clocks that differ are not modelled");
    end
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
        DOA2, DOA1, DOA0} =
        DATA_WIDTH_B == 36 ? out_b[17:0] : out_a[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3,
        DOB2, DOB1, DOB0} =
        DATA_WIDTH_B == 36 ? out_b[35:18] : out_b[17:0];
endmodule

// Multiplier without registers: P = A * B, each signed or not.
module MULT18X18D(
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
    P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire signed [18:0] wide_a = {SIGNEDA & A17, a}, wide_b = {SIGNEDB & B17, b};
    wire signed [37:0] product = wide_a * wide_b;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17,
        P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = product[35:0];
    always @* if (SOURCEA | SOURCEB) $fatal(1, "MULT18X18D: shifted input is not modelled");
endmodule
