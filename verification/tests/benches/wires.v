// Wires for the tests of the protocol checkers: the test drives every signal, the checkers look at the far side.
module wires (
    input aclk, input aresetn,
    input i_tvalid, input i_tready, input [31:0] i_tdata, input [3:0] i_tkeep, input i_tlast,
    output o_tvalid, output o_tready, output [31:0] o_tdata, output [3:0] o_tkeep, output o_tlast,
    input i_awvalid, input i_awready, input [7:0] i_awaddr, input [2:0] i_awprot,
    input i_wvalid, input i_wready, input [31:0] i_wdata, input [3:0] i_wstrb,
    input i_bvalid, input i_bready, input [1:0] i_bresp,
    input i_arvalid, input i_arready, input [7:0] i_araddr, input [2:0] i_arprot,
    input i_rvalid, input i_rready, input [31:0] i_rdata, input [1:0] i_rresp,
    output o_awvalid, output o_awready, output [7:0] o_awaddr, output [2:0] o_awprot,
    output o_wvalid, output o_wready, output [31:0] o_wdata, output [3:0] o_wstrb,
    output o_bvalid, output o_bready, output [1:0] o_bresp,
    output o_arvalid, output o_arready, output [7:0] o_araddr, output [2:0] o_arprot,
    output o_rvalid, output o_rready, output [31:0] o_rdata, output [1:0] o_rresp
);
    assign {o_tvalid, o_tready, o_tdata, o_tkeep, o_tlast} = {i_tvalid, i_tready, i_tdata, i_tkeep, i_tlast};
    assign {o_awvalid, o_awready, o_awaddr, o_awprot} = {i_awvalid, i_awready, i_awaddr, i_awprot};
    assign {o_wvalid, o_wready, o_wdata, o_wstrb} = {i_wvalid, i_wready, i_wdata, i_wstrb};
    assign {o_bvalid, o_bready, o_bresp} = {i_bvalid, i_bready, i_bresp};
    assign {o_arvalid, o_arready, o_araddr, o_arprot} = {i_arvalid, i_arready, i_araddr, i_arprot};
    assign {o_rvalid, o_rready, o_rdata, o_rresp} = {i_rvalid, i_rready, i_rdata, i_rresp};
    // So that there is a clocked process, as in any design.
    reg seen = 0;
    always @(posedge aclk) seen <= aresetn;
endmodule
