"""The semantic model as TMDL, the text format of Power BI projects."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from app.powerbi.contracts import ViewContract
from app.powerbi.identity import guid
from app.powerbi.semantic_model import Column, Measure, Model, Relationship, Role, Table

CULTURE = "en-US"
COMPATIBILITY_LEVEL = 1601


@dataclass(frozen=True)
class SnowflakeConnection:
    """Where gold lies in Snowflake. No credentials: Power BI asks for them."""

    server: str = "YOUR_ACCOUNT.snowflakecomputing.com"
    warehouse: str = "YOUR_WAREHOUSE"
    role: str = "YOUR_ROLE"
    database: str = "STOCKS"
    schema: str = "GOLD"

    def parameters(self) -> tuple[tuple[str, str, str], ...]:
        """Name, value and description of each parameter of the model."""
        return (
            ("SnowflakeServer", self.server, "Host name of the Snowflake account."),
            ("SnowflakeWarehouse", self.warehouse, "Virtual warehouse that runs the queries."),
            ("SnowflakeRole", self.role, "Role that may read gold."),
            ("SnowflakeDatabase", self.database, "Database that holds gold."),
            ("SnowflakeSchema", self.schema, "Schema of the gold views."),
        )


def definition(
    model: Model, contracts: Mapping[str, ViewContract], connection: SnowflakeConnection
) -> dict[str, str]:
    """The files below `definition/`, by their path there."""
    files = {
        "database.tmdl": f"database\n\tcompatibilityLevel: {COMPATIBILITY_LEVEL}\n",
        "model.tmdl": _model(model, connection),
        "expressions.tmdl": "\n".join(_parameter(*each) for each in connection.parameters()),
        "relationships.tmdl": "\n".join(_relationship(each) for each in model.relationships),
        f"cultures/{CULTURE}.tmdl": f"cultureInfo {CULTURE}\n",
    }
    for table in model.tables:
        files[f"tables/{table.name}.tmdl"] = _table(table, contracts[table.view])
    for role in model.roles:
        files[f"roles/{role.name}.tmdl"] = _role(role)
    return files


def _model(model: Model, connection: SnowflakeConnection) -> str:
    order = [name for name, _, _ in connection.parameters()] + [t.name for t in model.tables]
    references = [f"ref table {_name(table.name)}" for table in model.tables]
    references += [""] + [f"ref role {_name(role.name)}" for role in model.roles]
    references += ["", f"ref cultureInfo {CULTURE}"]
    return (
        f"model Model\n\tculture: {CULTURE}\n\tdefaultPowerBIDataSourceVersion: powerBI_V3\n"
        f"\tdiscourageImplicitMeasures\n\tsourceQueryCulture: {CULTURE}\n\tdataAccessOptions\n"
        "\t\tlegacyRedirects\n\t\treturnErrorValuesAsNull\n\n"
        "annotation __PBI_TimeIntelligenceEnabled = 0\n\n"
        'annotation PBI_ProTooling = ["DevMode"]\n\n'
        f"annotation PBI_QueryOrder = {json.dumps(order)}\n\n" + "\n".join(references) + "\n"
    )


def _parameter(name: str, value: str, description: str) -> str:
    return (
        f"/// {description}\n"
        f"expression {name} = {_m_text(value)} "
        'meta [IsParameterQuery=true, Type="Text", IsParameterQueryRequired=true]\n'
        f"\tlineageTag: {guid('parameter', name)}\n\n\tannotation PBI_ResultType = Text\n"
    )


def _relationship(relationship: Relationship) -> str:
    many_side, one_side = relationship.many_side, relationship.one_side
    text = f"relationship {guid('relationship', many_side.table, many_side.column)}\n"
    if relationship.complete:
        text += "\trelyOnReferentialIntegrity\n"
    return (
        text + f"\tfromColumn: {_name(many_side.table)}.{_name(many_side.column)}\n"
        f"\ttoColumn: {_name(one_side.table)}.{_name(one_side.column)}\n"
    )


def _role(role: Role) -> str:
    return (
        f"/// {role.description}\nrole {_name(role.name)}\n\tmodelPermission: read\n\n"
        f"\ttablePermission {_name(role.table)} = {role.filter}\n"
    )


def _table(table: Table, contract: ViewContract) -> str:
    head = f"/// {contract.description}\ntable {_name(table.name)}\n"
    blocks = [head + f"\tlineageTag: {guid('table', table.name)}\n"]
    blocks += [_measure(table, measure) for measure in table.measures]
    blocks += [_column(table, column, contract.columns[column.source]) for column in table.columns]
    blocks += [_partition(table), "\tannotation PBI_ResultType = Table\n"]
    return "\n".join(blocks)


def _measure(table: Table, measure: Measure) -> str:
    text = (
        f"\t/// {measure.description}\n\tmeasure {_name(measure.name)} = {measure.expression.dax}\n"
    )
    if measure.format:
        text += f"\t\tformatString: {measure.format}\n"
    return (
        text + f"\t\tdisplayFolder: {measure.folder}\n"
        f"\t\tlineageTag: {guid('measure', table.name, measure.name)}\n"
    )


def _column(table: Table, column: Column, description: str) -> str:
    text = f"\t/// {description}\n\tcolumn {_name(column.name)}\n\t\tdataType: {column.type}\n"
    if not column.visible:
        text += "\t\tisHidden\n"
    if column.key:
        text += "\t\tisKey\n"
    if column.format:
        text += f"\t\tformatString: {column.format}\n"
    return (
        text + f"\t\tlineageTag: {guid('column', table.name, column.name)}\n"
        f"\t\tsummarizeBy: none\n\t\tsourceColumn: {column.source.upper()}\n"
        + (f"\t\tsortByColumn: {_name(column.sort_by)}\n" if column.sort_by else "")
        + "\n\t\tannotation SummarizationSetBy = User\n"
    )


def _partition(table: Table) -> str:
    """Navigation only: any other step of M could end what DirectQuery can send to the source."""
    query = textwrap.indent(power_query(table.view), "\t\t\t\t")
    return f"\tpartition {_name(table.name)} = m\n\t\tmode: directQuery\n\t\tsource =\n{query}\n"


def power_query(view: str) -> str:
    """The M expression of a table: from the account to one view of gold."""
    return (
        "let\n"
        "    Source = Snowflake.Databases(SnowflakeServer, SnowflakeWarehouse, "
        '[Role = SnowflakeRole, Implementation = "2.0"]),\n'
        '    Database = Source{[Name = SnowflakeDatabase, Kind = "Database"]}[Data],\n'
        '    Schema = Database{[Name = SnowflakeSchema, Kind = "Schema"]}[Data],\n'
        f'    View = Schema{{[Name = "{view.upper()}", Kind = "View"]}}[Data]\n'
        "in\n"
        "    View"
    )


def _name(name: str) -> str:
    """A name as TMDL writes it: quoted unless it is a plain word."""
    return name if name.isalnum() else "'" + name.replace("'", "''") + "'"


def _m_text(value: str) -> str:
    """A text of M, in which `#(` would begin an escape."""
    return '"' + value.replace("#(", "#(#)(").replace('"', '""') + '"'
